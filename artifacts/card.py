"""The model card of an artifact: its README.md."""

from __future__ import annotations

from .facts import headline, headlines
from .family import Family
from .manifest import Manifest

_TEMPLATE = """---
{front}---

# {name} {version}

{title} as ONNX graphs, exported by onnx-ml-bridge from `{source}`. Running them requires only ONNX Runtime and the
runtime of onnx-ml-bridge, in Python or Rust; no PyTorch and no network.

{facts}

## Variants

{variants}

Each metric compares a variant with the original model. `parity.json` has all metrics, the number of texts and the
machine they were measured on.

## Use

```python
{usage}
```

`onnx-ml-bridge verify path/to/this/folder` checks every file, runs the inputs of `golden.jsonl` on this machine and
compares the outputs with those of the original model. `manifest.json` describes this folder.
"""


def model_card(manifest: Manifest, family: Family) -> str:
    """Return the README.md of an artifact as Markdown with YAML front matter."""
    source = manifest.source
    front = {
        "license": source.license,
        "language": family.language(manifest),
        "library_name": "onnx",
        "pipeline_tag": family.pipeline_tag,
    }
    facts = family.facts(manifest) | {"license of the model": source.license or "not stated by its source"}
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
    # Labels come from the model and may contain line breaks
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
