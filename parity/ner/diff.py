"""Texts with their entities marked, cut down to what a person wants to see of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...artifacts.ner import ExpectedEntity
from ...runtime.entities import Entity
from ...runtime.entity_agreement import EntityKey

# A text of more characters is cut to what stands around the places of interest.
_WHOLE = 600
_AROUND = 90
_MAX_EXCERPTS = 5

Window = tuple[int, int]
AnyEntity = Entity | ExpectedEntity


@dataclass(frozen=True)
class Piece:
    """A piece of a text: of an entity where `label` is not None, `is_alone` where the other side has no such entity.

    `is_end` says that the entity ends here, so that its label follows. A piece without text stands for one of an entity
    whose characters others have taken, and `is_gap` for a part of the text that is left out.
    """

    text: str
    label: str | None = None
    is_alone: bool = False
    is_end: bool = True
    is_gap: bool = False


@dataclass(frozen=True)
class Sides:
    """One text as the original and as a variant read it; `hidden` counts differences outside of what is shown."""

    original: list[Piece]
    variant: list[Piece]
    original_alone: int
    variant_alone: int
    hidden: int


def both_sides(text: str, original: Sequence[AnyEntity], variant: Sequence[AnyEntity]) -> Sides:
    """The text twice, with the entities of each side; in long texts only what stands around those of one side alone."""
    expected, got = {_triple(entity) for entity in original}, {_triple(entity) for entity in variant}
    alone = expected ^ got
    windows = excerpts(text, [index for start, end, _ in sorted(alone) for index in (start, end)])
    hidden = sum(not any(_overlap((start, end), window) for window in windows) for start, end, _ in alone)
    shown, others = (pieces(text, entities, windows, alone) for entities in (original, variant))
    return Sides(shown, others, len(expected - got), len(got - expected), hidden)


def excerpts(text: str, indices: Sequence[int]) -> list[Window]:
    """The parts of a text to show: all of it if it is short, else what stands around the places, or its beginning."""
    if len(text) <= _WHOLE:
        return [(0, len(text))]
    windows: list[Window] = []
    for index in sorted(indices) or [0]:
        start, end = max(0, index - _AROUND), min(len(text), index + _AROUND)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(end, windows[-1][1]))
        else:
            windows.append((start, end))
    return [_shortened(window) for window in windows[:_MAX_EXCERPTS]]


def pieces(
    text: str, entities: Iterable[AnyEntity], windows: Sequence[Window], alone: Iterable[EntityKey] = ()
) -> list[Piece]:
    """The parts of the text that the windows show, entity by entity; characters of several go to the first of them."""
    ordered = sorted(entities, key=lambda entity: (entity.start, entity.end))
    chosen = set(alone)
    found: list[Piece] = []
    for first, last in windows:
        if first > 0:
            found.append(Piece("", is_gap=True))
        done = first
        for entity in ordered:
            if not _overlap((entity.start, entity.end), (first, last)):
                continue
            start, end = max(entity.start, done), max(min(entity.end, last), done)
            found += [Piece(text[done:start])] if start > done else []
            found.append(Piece(text[start:end], entity.label, _triple(entity) in chosen, entity.end <= last))
            done = max(start, end)
        found += [Piece(text[done:last])] if last > done else []
    is_cut = windows[-1][1] < len(text)
    return [*found, Piece("", is_gap=True)] if is_cut else found


def _triple(entity: AnyEntity) -> EntityKey:
    return entity.start, entity.end, entity.label


def _overlap(entity: Window, window: Window) -> bool:
    """Whether an entity, which may be empty, has a place in a window."""
    start, end = entity
    return start < window[1] and end > window[0] if start < end else window[0] <= start <= window[1]


def _shortened(window: Window) -> Window:
    """At most as many characters as a whole text may have."""
    return window[0], min(window[1], window[0] + _WHOLE)
