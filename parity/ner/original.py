"""The type of the original's answer to one text, which all engines of the task `ner` share."""

from __future__ import annotations

from dataclasses import dataclass

from ...artifacts.ner import ExpectedEntity


@dataclass(frozen=True)
class OriginalEntities:
    """The original's answer to one text: its entities, the number of tokens read, and whether the text was cut."""

    entities: tuple[ExpectedEntity, ...]
    tokens: int
    truncated: bool
