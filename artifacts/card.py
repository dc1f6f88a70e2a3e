"""The model card: what an artifact is, for a person who finds the folder."""

from __future__ import annotations

from .facts import headline, headlines
from .family import Family
from .manifest import Manifest

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


def model_card(manifest: Manifest, family: Family) -> str:
    """Markdown of an artifact's README.md, from its manifest."""
    source = manifest.source
    front = {
        "license": source.license,
        "language": family.language(manifest),
        "library_name": "onnx",
        "pipeline_tag": family.pipeline_tag,
    }
    facts = family.facts(manifest) | {"license of the model": source.license or "not named by its source; ask there"}
    revision = f" at {source.revision}" if source.revision else ""
    return _TEMPLATE.format(
        front="".join(f"{key}: {value}\n" for key, value in front.items() if value),
        name=manifest.name,
        version=manifest.version,
        title=family.title,
        source=f"{source.kind}:{source.id}{revision}",
        facts="\n".join(f"- {_fact(title, text)}" for title, text in facts.items()),
        variants=_variant_table(manifest, family),
        usage=family.usage(manifest),
    )


def _fact(title: str, text: str) -> str:
    # Labels are the model's own words: whatever they hold, a fact stays one line
    return f"{title[:1].upper()}{title[1:]}: {' '.join(text.split())}."


def _variant_table(manifest: Manifest, family: Family) -> str:
    metrics = manifest.parity.variants
    titles = headlines(family, (metrics[name] for name in manifest.variants))
    lines = [_row("variant", "graphs", *titles.values()), "|---" * (2 + len(titles)) + "|"]
    for name, variant in sorted(manifest.variants.items()):
        files = ", ".join(f"`{graph.file}`" for graph in variant.graphs.values())
        lines.append(_row(name, files, *(headline(family, metrics[name], key) for key in titles)))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
