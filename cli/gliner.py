"""The family gliner on the command line: its options in models.toml, and the subcommand `ner`."""

from __future__ import annotations

from dataclasses import dataclass

from .ner import command
from .options import ALLOW_PICKLE, option

__all__ = ["Options", "command"]


@dataclass(frozen=True)
class Options:
    """The options of a GLiNER model in models.toml: the settings of calls without options."""

    allow_pickle: bool = option(False, ALLOW_PICKLE)
    labels: list[str] | None = option(None, "GLiNER: label of calls that name none. Can be repeated.")
    threshold: float = option(0.5, "GLiNER: score that entities must exceed, from 0 to 1.")
    nested: bool = option(False, "GLiNER: allow entities inside of others.")
    multi_label: bool = option(False, "GLiNER: allow several labels for the same words.")
    stride: int | None = option(
        None, "ner: overlap of the windows of a long text, in tokens, for GLiNER in words (default: a quarter)."
    )
    language: str | None = option(None, "ner: ISO code of the language of the model.")

    def __post_init__(self) -> None:
        """Raise `ValueError` for values out of range."""
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, expected 0 to 1")
        if self.stride is not None and self.stride < 0:
            raise ValueError(f"stride is {self.stride}, expected at least 0")
