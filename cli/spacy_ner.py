"""The family spacy_ner on the command line: its options in models.toml, and the subcommand `ner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .ner import command
from .options import option

__all__ = ["Options", "command"]


@dataclass(frozen=True)
class Options:
    """The options of a spaCy pipeline in models.toml."""

    sentences: Literal["none", "given", "parser"] | None = option(
        None, "spaCy: source of the sentence starts: none, given or parser."
    )
