"""The entities of a text, which all engines of named entity recognition return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from .answers import ONNX, Fallback, Usage


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity in a text.

    `text` is the covered text, `label` the type of the entity. `start` and `end` are offsets in Unicode characters,
    `start_byte` and `end_byte` offsets in bytes of UTF-8; the ends are exclusive. `score` is a probability, or None if
    the engine computes no scores.
    """

    text: str
    label: str
    start: int
    end: int
    start_byte: int
    end_byte: int
    score: float | None = None

    def utf16_range(self, text: str) -> tuple[int, int]:
        """Return start and end as offsets in UTF-16 code units, which JavaScript uses.

        :param text: the text the entity was found in.
        :raises ValueError: if `text` differs from the entity's text at its offsets.
        """
        if text[self.start : self.end] != self.text:
            raise ValueError(f"expected {self.text!r} at {self.start}:{self.end}, got {text[self.start : self.end]!r}")
        start = len(text[: self.start].encode("utf-16-le")) // 2
        return start, start + len(self.text.encode("utf-16-le")) // 2


@dataclass(frozen=True, slots=True)
class Entities:
    """The entities of one text.

    `entities` are in the order of the text, `tokens` is the number of tokens read, special tokens included.
    `truncated` is true if the text was longer than the model's limit and its end was not read. The object is also a
    sequence of its entities: it has a length, an iterator and an index. `backend` is what gave the answer, `fallbacks`
    what failed before in a chain, `usage` the tokens that a server counted; `tokens` is None if it did not count.
    """

    entities: tuple[Entity, ...]
    tokens: int | None
    truncated: bool
    backend: str = ONNX
    fallbacks: tuple[Fallback, ...] = ()
    usage: Usage | None = None

    def __iter__(self) -> Iterator[Entity]:
        """Iterate over the entities in the order of the text."""
        return iter(self.entities)

    def __len__(self) -> int:
        """Return the number of entities."""
        return len(self.entities)

    @overload
    def __getitem__(self, index: int) -> Entity: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Entity, ...]: ...

    def __getitem__(self, index: int | slice) -> Entity | tuple[Entity, ...]:
        """Return the entity at an index, or a tuple for a slice."""
        return self.entities[index]


@dataclass(frozen=True, slots=True)
class EntitySpan:
    """An entity without its text and byte offsets: `start` and `end` in characters (the end is exclusive)."""

    start: int
    end: int
    label: str
    score: float | None = None


def entities_from_spans(text: str, spans: Sequence[EntitySpan]) -> tuple[Entity, ...]:
    """Convert spans to entities with their texts and byte offsets, in time linear in the length of the text."""
    byte_at = range(len(text) + 1) if text.isascii() else _byte_offsets(text, spans)
    return tuple(_entity(text, span, byte_at) for span in spans)


def _entity(text: str, span: EntitySpan, byte_at: Mapping[int, int] | Sequence[int]) -> Entity:
    start, end = span.start, span.end
    return Entity(text[start:end], span.label, start, end, byte_at[start], byte_at[end], span.score)


def _byte_offsets(text: str, spans: Iterable[EntitySpan]) -> dict[int, int]:
    """Return a dict from the start and end offsets of spans in characters to the same offsets in bytes of UTF-8."""
    byte_at, byte, last = {}, 0, 0
    for offset in sorted({offset for span in spans for offset in (span.start, span.end)}):
        byte += len(text[last:offset].encode())
        last = offset
        byte_at[offset] = byte
    return byte_at
