"""spaCy pipelines on the command line: options of models.toml, and `ner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .ner import command
from .options import option

__all__ = ["Options", "command"]


@dataclass(frozen=True)
class Options:
    """The options of models.toml."""

    sentences: Literal["none", "given", "parser"] | None = option(
        None, "spaCy: which sentence starts count: none, given or parser."
    )
