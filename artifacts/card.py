"""The model card: what an artifact is, for a person who finds the folder."""

from __future__ import annotations

from collections.abc import Mapping

from .manifest import Source, Variant
from .specs import EmbeddingSpec, TokenizerSpec

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

bridge = OnnxMlBridge.open(embedding="path/to/this/folder")
vector = bridge.generate_embedding("any text")
```

`onnx-ml-bridge verify path/to/this/folder` checks every file and replays `golden.jsonl`, answers of the original model,
on the machine at hand. `manifest.json` is the contract of this folder.
"""


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
    front = {"license": source.license, "library_name": "onnx", "pipeline_tag": "sentence-similarity"}
    prompts = ", ".join(f"`{key}`" for key, prompt in sorted(embedding.prompts.items()) if prompt.text) or "none"
    facts = [
        f"Vectors of {embedding.dim} float32 numbers{', of length 1' if embedding.normalized else ''}, "
        f"compared by {embedding.similarity}.",
        f"Pooling: {', '.join(embedding.pooling)}. Prompts: {prompts}.",
        f"Texts are cut to {tokenizer.max_tokens} tokens on the {tokenizer.truncation_side}.",
        f"Licence of the model: {source.license or 'not named by its source; ask there'}.",
    ]
    revision = f" at {source.revision}" if source.revision else ""
    return _TEMPLATE.format(
        front="".join(f"{key}: {value}\n" for key, value in front.items() if value),
        name=name, version=version, title="Sentence embeddings", source=f"{source.kind}:{source.id}{revision}",
        facts="\n".join(f"- {fact}" for fact in facts), variants=_variant_table(variants, metrics),
    )  # fmt: skip


def _variant_table(variants: Mapping[str, Variant], metrics: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| variant | graph | max abs | cosine min | cosine mean |", "|---|---|---|---|---|"]
    for name, variant in sorted(variants.items()):
        figures = metrics[name]
        files = ", ".join(f"`{graph.file}`" for graph in variant.graphs.values())
        cosines = " | ".join(f"{figures[key]:.5f}" if key in figures else "" for key in ("cosine_min", "cosine_mean"))
        lines.append(f"| {name} | {files} | {figures['max_abs']:.1e} | {cosines} |")
    return "\n".join(lines)
