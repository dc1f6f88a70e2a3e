"""Finds the entities that a language model copied from a text: models cannot count, so they give no offsets."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..runtime.chunks import is_whitespace
from ..runtime.entities import EntitySpan

# The number of occurrences of one string that are compared; texts with more are not written by people.
_MAX_OCCURRENCES = 10_000
_FOLDED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    }
)


@dataclass(frozen=True, slots=True)
class Copied:
    """An entity as a model gives it: a copy of its text, its label, and a copy of the words before it."""

    text: str
    label: str
    before: str = ""


@dataclass(frozen=True)
class Aligned:
    """The spans of entities in the order of the text, and the number of those that are not in it."""

    spans: tuple[EntitySpan, ...]
    dropped: int


def align(text: str, copies: Sequence[Copied]) -> Aligned:
    """Return where in a text entities are; each takes an occurrence of its own, and spans do not overlap.

    Of several occurrences an entity takes the one after the words before it, then an exact copy, then whole words, then
    one after the entity before, then the first one.
    """
    finder = _Finder(text)
    spans = [span for copied in copies if (span := finder.find(copied)) is not None]
    return Aligned(tuple(sorted(spans, key=lambda span: span.start)), len(copies) - len(spans))


class _Finder:
    """The state while the entities of one text are found."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded, self._offsets = fold(text)
        self._taken: list[tuple[int, int]] = []
        self._cursor = 0

    def find(self, copied: Copied) -> EntitySpan | None:
        exact, words = copied.text.strip(), fold(copied.before)[0].strip()
        best: tuple[tuple[bool, bool, bool, bool, int], int] | None = None
        for at, start, end in self._occurrences(fold(copied.text)[0].strip()):
            if self._is_taken(start, end):
                continue
            is_near = self._folded[:at].rstrip().endswith(words) if words else True
            is_exact = self._text[start:end] == exact
            rank = (not is_near, not is_exact, not self._is_whole(start, end), start < self._cursor, start)
            if best is None or rank < best[0]:
                best = rank, end
        if best is None:
            return None
        start, end = best[0][-1], best[1]
        insort(self._taken, (start, end))
        self._cursor = end
        return EntitySpan(start, end, copied.label)

    def _occurrences(self, folded: str) -> Iterator[tuple[int, int, int]]:
        """Yield the offset in the folded text, and the start and end in the text, of every occurrence."""
        at = self._folded.find(folded) if folded else -1
        for _ in range(_MAX_OCCURRENCES):
            if at < 0:
                return
            yield at, self._offsets[at], self._offsets[at + len(folded) - 1] + 1
            at = self._folded.find(folded, at + 1)

    def _is_taken(self, start: int, end: int) -> bool:
        """Return whether a span overlaps one that another entity has."""
        index = bisect_left(self._taken, (end, 0))
        return index > 0 and self._taken[index - 1][1] > start

    def _is_whole(self, start: int, end: int) -> bool:
        """Return whether a span begins and ends at the borders of words."""
        text = self._text
        is_start = start == 0 or not (text[start - 1].isalnum() and text[start].isalnum())
        return is_start and (end == len(text) or not (text[end].isalnum() and text[end - 1].isalnum()))


def fold(text: str) -> tuple[str, list[int]]:
    """Return a text without differences that models make when they copy, and the offset of each of its characters.

    A run of whitespace is one space, quotes and dashes are those of ASCII, and letters are in lower case.
    """
    folded: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(text):
        if is_whitespace(character):
            if folded and folded[-1] == " ":
                continue
            character = " "
        for each in character.translate(_FOLDED).lower():
            folded.append(each)
            offsets.append(offset)
    return "".join(folded), offsets
