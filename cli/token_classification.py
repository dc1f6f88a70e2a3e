"""Token classifiers on the command line: options of models.toml, and `ner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .ner import command
from .options import ALLOW_PICKLE, option

__all__ = ["Options", "command"]


@dataclass(frozen=True)
class Options:
    """The options of models.toml; those that are None are left to the model or to the defaults."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = option(
        None, "ner: none, simple, first, average or max."
    )
    stride: int | None = option(None, "ner: tokens that windows of a long text share.")
    ignore_labels: list[str] | None = option(None, "ner: labels that are never returned; may be repeated.")
    language: str | None = option(None, "ner: the language that the model reads, an ISO code.")

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if self.stride is not None and self.stride < 0:
            raise ValueError(f"stride is {self.stride}, expected at least 0")
