"""The model card: what an artifact is, for a person who finds the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .manifest import Source, Variant
from .specs import EmbeddingSpec, SpacySpec, SummarizationSpec, TokenClassificationSpec, TokenizerSpec
from .summary import headline, headlines, ner_facts, summary_facts

_TEMPLATE = """---
{front}---

# {name} {version}

{title} as ONNX graphs, made by onnx-ml-bridge from `{source}`. It runs with ONNX Runtime and a tokenizers library
alone: no Python is needed, and no network.

{facts}

## Variants

{variants}

Figures are against the original model, on the texts named in `parity.json`, where all of them stand with the machine
they were measured on.

## Use

```python
from onnx_ml_bridge import OnnxMlBridge

{usage}
```

`onnx-ml-bridge verify path/to/this/folder` checks every file and replays `golden.jsonl`, answers of the original model,
on the machine at hand. `manifest.json` is the contract of this folder.
"""


_EMBEDDING_USAGE = """bridge = OnnxMlBridge.open(embedding="path/to/this/folder")
vector = bridge.generate_embedding("any text")"""

_NER_USAGE = """bridge = OnnxMlBridge.open(ner="path/to/this/folder")
for entity in bridge.extract_entities("Any text."):
    print(entity.text, entity.label, entity.start, entity.end)"""

_GIVEN_SENTENCES_USAGE = """bridge = OnnxMlBridge.open(ner="path/to/this/folder")
# For each text the places in characters where its sentences start
(found,) = bridge.ner(["Any text. Another sentence."], sentence_starts=[[0, 10]])
for entity in found.entities:
    print(entity.text, entity.label, entity.start, entity.end)"""

_SUMMARIZATION_USAGE = """bridge = OnnxMlBridge.open(summarization="path/to/this/folder")
print(bridge.summarize(["A first message.", "Another one."]))"""


def embedding_card(
    name: str,
    version: str,
    source: Source,
    tokenizer: TokenizerSpec,
    embedding: EmbeddingSpec,
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Mapping[str, float]],
) -> str:
    """Markdown of a sentence embedding artifact's README.md."""
    prompts = ", ".join(f"`{key}`" for key, prompt in sorted(embedding.prompts.items()) if prompt.text) or "none"
    facts = [
        f"Vectors of {embedding.dim} float32 numbers{', of length 1' if embedding.normalized else ''}, "
        f"compared by {embedding.similarity}.",
        f"Pooling: {', '.join(embedding.pooling)}. Prompts: {prompts}.",
        f"Texts are cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}.",
    ]
    front = {"license": source.license, "library_name": "onnx", "pipeline_tag": "sentence-similarity"}
    return _card(name, version, source, front, "Sentence embeddings", facts, variants, metrics, _EMBEDDING_USAGE)


def ner_card(
    name: str,
    version: str,
    source: Source,
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Mapping[str, float]],
    *,
    tokenizer: TokenizerSpec | None = None,
    token_classification: TokenClassificationSpec | None = None,
    spacy: SpacySpec | None = None,
) -> str:
    """Markdown of a named entity artifact's README.md, from the sections of the manifest that its engine has."""
    sections = ner_facts(tokenizer=tokenizer, token_classification=token_classification, spacy=spacy)
    # Labels are the model's own words: whatever they hold, a fact stays one line
    facts = [f"{title.capitalize()}: {' '.join(text.split())}." for title, text in sections.items()]
    facts.append("Places of entities count Unicode characters and bytes of UTF-8; "
                 f"entities have {'no scores' if spacy else 'the probability of their label as score'}.")  # fmt: skip
    language = spacy.language if spacy else token_classification.language if token_classification else None
    front = {"license": source.license, "language": language, "library_name": "onnx",
             "pipeline_tag": "token-classification"}  # fmt: skip
    usage = _GIVEN_SENTENCES_USAGE if spacy and spacy.sentences == "given" else _NER_USAGE
    return _card(name, version, source, front, "Named entities", facts, variants, metrics, usage)


def summarization_card(
    name: str,
    version: str,
    source: Source,
    tokenizer: TokenizerSpec,
    summarization: SummarizationSpec,
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Mapping[str, float]],
) -> str:
    """Markdown of a summarization artifact's README.md."""
    facts = [f"{title.capitalize()}: {text}." for title, text in summary_facts(tokenizer, summarization).items()]
    facts.append("Beam search is part of the graph: every runtime gets the same tokens from one call.")
    front = {"license": source.license, "library_name": "onnx", "pipeline_tag": "summarization"}
    return _card(name, version, source, front, "Summaries", facts, variants, metrics, _SUMMARIZATION_USAGE)


def _card(
    name: str,
    version: str,
    source: Source,
    front: Mapping[str, str | None],
    title: str,
    facts: Sequence[str],
    variants: Mapping[str, Variant],
    metrics: Mapping[str, Mapping[str, float]],
    usage: str,
) -> str:
    revision = f" at {source.revision}" if source.revision else ""
    licence = f"Licence of the model: {source.license or 'not named by its source; ask there'}."
    return _TEMPLATE.format(
        front="".join(f"{key}: {value}\n" for key, value in front.items() if value),
        name=name, version=version, title=title, source=f"{source.kind}:{source.id}{revision}",
        facts="\n".join(f"- {fact}" for fact in [*facts, licence]), variants=_variant_table(variants, metrics),
        usage=usage,
    )  # fmt: skip


def _variant_table(variants: Mapping[str, Variant], metrics: Mapping[str, Mapping[str, float]]) -> str:
    titles = headlines(metrics[name] for name in variants)
    lines = [_row("variant", "graphs", *titles.values()), "|---" * (2 + len(titles)) + "|"]
    for name, variant in sorted(variants.items()):
        files = ", ".join(f"`{graph.file}`" for graph in variant.graphs.values())
        lines.append(_row(name, files, *(headline(metrics[name], key) for key in titles)))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
