"""Texts with marked entities for the report, reduced to excerpts if they are long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...artifacts.ner import ExpectedEntity
from ...runtime.entities import Entity
from ...runtime.entity_agreement import EntityKey

# Lengths in characters: a text longer than `_WHOLE` is reduced to excerpts, each of which extends `_CONTEXT` characters
# to both sides of a difference
_WHOLE = 600
_CONTEXT = 90
_MAX_EXCERPTS = 5

Window = tuple[int, int]
AnyEntity = Entity | ExpectedEntity


@dataclass(frozen=True)
class Segment:
    """Consecutive characters of a displayed text that are highlighted alike.

    :param text: the characters; empty if all characters of the entity belong to earlier, overlapping entities.
    :param label: the label if the segment is part of an entity, else None.
    :param is_unmatched: whether the other side lacks this entity.
    :param is_end: whether the entity ends in this segment.
    :param is_gap: whether the segment stands for omitted text.
    """

    text: str
    label: str | None = None
    is_unmatched: bool = False
    is_end: bool = True
    is_gap: bool = False


@dataclass(frozen=True)
class Sides:
    """The same text with the entities of the original and of a variant.

    `original_only` and `variant_only` count entities that the other side lacks; `hidden` counts those outside the
    excerpts.
    """

    original: list[Segment]
    variant: list[Segment]
    original_only: int
    variant_only: int
    hidden: int


def both_sides(text: str, original: Sequence[AnyEntity], variant: Sequence[AnyEntity]) -> Sides:
    """Compare the entities of two sides; a long text is reduced to excerpts around the differences."""
    expected, actual = {_triple(entity) for entity in original}, {_triple(entity) for entity in variant}
    unmatched = expected ^ actual
    windows = excerpts(text, [offset for start, end, _ in sorted(unmatched) for offset in (start, end)])
    hidden = sum(not any(_overlap((start, end), window) for window in windows) for start, end, _ in unmatched)
    before, after = (segments(text, entities, windows, unmatched) for entities in (original, variant))
    return Sides(before, after, len(expected - actual), len(actual - expected), hidden)


def excerpts(text: str, offsets: Sequence[int]) -> list[Window]:
    """Return the excerpts of a text as (start, end).

    A short text is a single excerpt. A long text is reduced to the surroundings of the given offsets, or to its
    beginning if there are no offsets.
    """
    if len(text) <= _WHOLE:
        return [(0, len(text))]
    windows: list[Window] = []
    for offset in sorted(offsets) or [0]:
        start, end = max(0, offset - _CONTEXT), min(len(text), offset + _CONTEXT)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(end, windows[-1][1]))
        else:
            windows.append((start, end))
    return [_shortened(window) for window in windows[:_MAX_EXCERPTS]]


def segments(
    text: str, entities: Iterable[AnyEntity], windows: Sequence[Window], unmatched: Iterable[EntityKey] = ()
) -> list[Segment]:
    """Split the excerpts of a text at its entities; characters that entities share belong to the first of them."""
    ordered = sorted(entities, key=lambda entity: (entity.start, entity.end))
    marked = set(unmatched)
    result: list[Segment] = []
    for first, last in windows:
        if first > 0:
            result.append(Segment("", is_gap=True))
        done = first
        for entity in ordered:
            if not _overlap((entity.start, entity.end), (first, last)):
                continue
            start, end = max(entity.start, done), max(min(entity.end, last), done)
            result += [Segment(text[done:start])] if start > done else []
            result.append(Segment(text[start:end], entity.label, _triple(entity) in marked, entity.end <= last))
            done = max(start, end)
        result += [Segment(text[done:last])] if last > done else []
    is_cut = windows[-1][1] < len(text)
    return [*result, Segment("", is_gap=True)] if is_cut else result


def _triple(entity: AnyEntity) -> EntityKey:
    return entity.start, entity.end, entity.label


def _overlap(entity: Window, window: Window) -> bool:
    """Return whether an entity overlaps a window; an empty entity overlaps if it lies within."""
    start, end = entity
    return start < window[1] and end > window[0] if start < end else window[0] <= start <= window[1]


def _shortened(window: Window) -> Window:
    """Return a window of the text, cut to the maximum length of an excerpt."""
    return window[0], min(window[1], window[0] + _WHOLE)
