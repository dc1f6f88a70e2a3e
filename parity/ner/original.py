"""What an original said of one text, whichever engine it is."""

from __future__ import annotations

from dataclasses import dataclass

from ...artifacts.ner import ExpectedEntity


@dataclass(frozen=True)
class OriginalEntities:
    """The original's entities in its order, how many tokens it read, and whether it left the text's end unread."""

    entities: tuple[ExpectedEntity, ...]
    tokens: int
    truncated: bool
