"""The model card: what an artifact is, for a person who finds the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .constants import NER, SENTENCE_EMBEDDING, SUMMARIZATION
from .facts import headline, headlines, ner_facts, summary_facts
from .manifest import Manifest, Variant, section

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


@dataclass(frozen=True)
class _Parts:
    """What a task says of its model: `tag` is the hub's name of the task, `facts` are sentences, `usage` is Python."""

    tag: str
    title: str
    facts: list[str]
    usage: str
    language: str | None = None


def model_card(manifest: Manifest) -> str:
    """Markdown of an artifact's README.md, from its manifest."""
    tasks = {SENTENCE_EMBEDDING: _embedding, NER: _entities, SUMMARIZATION: _summaries}
    parts, source = tasks[manifest.task](manifest), manifest.source
    front = {"license": source.license, "language": parts.language, "library_name": "onnx", "pipeline_tag": parts.tag}
    revision = f" at {source.revision}" if source.revision else ""
    licence = f"Licence of the model: {source.license or 'not named by its source; ask there'}."
    return _TEMPLATE.format(
        front="".join(f"{key}: {value}\n" for key, value in front.items() if value),
        name=manifest.name,
        version=manifest.version,
        title=parts.title,
        source=f"{source.kind}:{source.id}{revision}",
        facts="\n".join(f"- {fact}" for fact in [*parts.facts, licence]),
        variants=_variant_table(manifest.variants, manifest.parity.variants),
        usage=parts.usage,
    )


def _embedding(manifest: Manifest) -> _Parts:
    embedding, tokenizer = section(manifest.embedding, "embedding"), section(manifest.tokenizer, "tokenizer")
    prompts = ", ".join(f"`{key}`" for key, prompt in sorted(embedding.prompts.items()) if prompt.text) or "none"
    facts = [
        f"Vectors of {embedding.dim} float32 numbers{', of length 1' if embedding.normalized else ''}, "
        f"compared by {embedding.similarity}.",
        f"Pooling: {', '.join(embedding.pooling)}. Prompts: {prompts}.",
        f"Texts are cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}.",
    ]
    return _Parts("sentence-similarity", "Sentence embeddings", facts, _EMBEDDING_USAGE)


def _entities(manifest: Manifest) -> _Parts:
    spacy, classifier = manifest.spacy, manifest.token_classification
    sections = ner_facts(tokenizer=manifest.tokenizer, token_classification=classifier, spacy=spacy)
    # Labels are the model's own words: whatever they hold, a fact stays one line
    facts = [f"{title.capitalize()}: {' '.join(text.split())}." for title, text in sections.items()]
    facts.append(
        "Places of entities count Unicode characters and bytes of UTF-8; "
        f"entities have {'no scores' if spacy else 'the probability of their label as score'}."
    )
    language = spacy.language if spacy else classifier.language if classifier else None
    usage = _GIVEN_SENTENCES_USAGE if spacy and spacy.sentences == "given" else _NER_USAGE
    return _Parts("token-classification", "Named entities", facts, usage, language)


def _summaries(manifest: Manifest) -> _Parts:
    summarization = section(manifest.summarization, "summarization")
    sections = summary_facts(section(manifest.tokenizer, "tokenizer"), summarization)
    facts = [f"{title.capitalize()}: {text}." for title, text in sections.items()]
    facts.append("Beam search is part of the graph: every runtime gets the same tokens from one call.")
    return _Parts("summarization", "Summaries", facts, _SUMMARIZATION_USAGE)


def _variant_table(variants: Mapping[str, Variant], metrics: Mapping[str, Mapping[str, float]]) -> str:
    titles = headlines(metrics[name] for name in variants)
    lines = [_row("variant", "graphs", *titles.values()), "|---" * (2 + len(titles)) + "|"]
    for name, variant in sorted(variants.items()):
        files = ", ".join(f"`{graph.file}`" for graph in variant.graphs.values())
        lines.append(_row(name, files, *(headline(metrics[name], key) for key in titles)))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
