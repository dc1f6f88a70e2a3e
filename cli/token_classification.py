"""The family token_classification on the command line: its options in models.toml, and the subcommand `ner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .ner import command
from .options import ALLOW_PICKLE, IGNORE_CODE, option

__all__ = ["Options", "command"]


@dataclass(frozen=True)
class Options:
    """The options of a token classifier in models.toml; None selects the value of the model, or else a default."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    ignore_code: bool = option(False, IGNORE_CODE)
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = option(
        None, "ner: aggregation strategy: none, simple, first, average or max."
    )
    stride: int | None = option(None, "ner: overlap in tokens between the windows of a long text.")
    ignore_labels: list[str] | None = option(None, "ner: label whose entities are dropped. Can be repeated.")
    language: str | None = option(None, "ner: ISO code of the language of the model.")

    def __post_init__(self) -> None:
        """Raise `ValueError` if `stride` is negative."""
        if self.stride is not None and self.stride < 0:
            raise ValueError(f"stride is {self.stride}, expected at least 0")
