"""Named entities as every engine gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity: what the text says at `start:end`, and its label.

    `start` and `end` count Unicode characters, `start_byte` and `end_byte` bytes of UTF-8; both ends are exclusive.
    `score` is a probability, or None where the engine has none.
    """

    text: str
    label: str
    start: int
    end: int
    start_byte: int
    end_byte: int
    score: float | None = None

    def utf16_range(self, text: str) -> tuple[int, int]:
        """Start and end in UTF-16 code units, as JavaScript counts.

        :param text: the text the entity was found in: how many units stand before the entity depends on it.
        :raises ValueError: when `text` does not have the entity's text at its place.
        """
        if text[self.start : self.end] != self.text:
            raise ValueError(f"the text does not say {self.text!r} at {self.start}:{self.end}")
        start = len(text[: self.start].encode("utf-16-le")) // 2
        return start, start + len(self.text.encode("utf-16-le")) // 2


@dataclass(frozen=True, slots=True)
class Entities:
    """The entities of one text, in its order; its tokens; whether it was cut, so that its end was not looked at."""

    entities: tuple[Entity, ...]
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Found:
    """An entity as decoding finds it: places in characters."""

    start: int
    end: int
    label: str
    score: float | None = None


@dataclass(frozen=True)
class NerOptions:
    """Settings of one call; None stands for the manifest's own.

    `sentence_starts` has, for each text, the places in characters where its sentences start.
    """

    aggregation_strategy: str | None = None
    stride: int | None = None
    sentence_starts: Sequence[Sequence[int]] | None = None


class Recognizer(Protocol):
    """What an engine offers for one opened variant. Thread-safe; graphs are loaded by the first call."""

    name: str
    version: str
    variant: str

    def load(self) -> None:
        """Load the graphs now instead of at the first call."""

    def check(self, options: NerOptions) -> None:
        """Raise what is wrong with the options for any text: `ConfigError`, or `InputError` for `sentence_starts`."""

    def self_test(self) -> None:
        """Run a short text, or raise what is wrong."""

    def recognize(self, texts: Sequence[str], options: NerOptions) -> list[Entities]:
        """Entities of every text, in the order of the texts.

        :raises InputError: with the index of the first text that is refused.
        """


def resolve(text: str, found: Iterable[Found]) -> tuple[Entity, ...]:
    """Entities with their text and their places in bytes; linear in the text however many there are."""
    entities = list(found)
    if text.isascii():
        return tuple(Entity(text[f.start : f.end], f.label, f.start, f.end, f.start, f.end, f.score) for f in entities)
    indices = sorted({index for entity in entities for index in (entity.start, entity.end)})
    bytes_at, before, last = {}, 0, 0
    for index in indices:
        before += len(text[last:index].encode())
        last = index
        bytes_at[index] = before
    return tuple(
        Entity(text[f.start : f.end], f.label, f.start, f.end, bytes_at[f.start], bytes_at[f.end], f.score)
        for f in entities
    )
