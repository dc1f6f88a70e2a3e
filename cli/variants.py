"""What the stages of every family do with variants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..artifacts.manifest import Variant


def drop_unwanted(staging: Path, made: Mapping[str, Variant], wanted: Mapping[str, Variant]) -> None:
    """Remove graphs that served only to make others: fp32 where int8 alone is wanted."""
    for name, variant in made.items():
        if name not in wanted:
            for graph in variant.graphs.values():
                for path in (staging / "onnx").glob(f"{Path(graph.file).name}*"):
                    path.unlink()
