"""Find entities in the logits of windows: candidates above the threshold, and a greedy search over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..array_equality import ArrayEquality

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidates(ArrayEquality):
    """n possible entities: the first and the last word, the index of the label, and the score.

    All arrays are `[n]`, int64, and the scores float32.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    label: NDArray[np.int64]
    score: Floats

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.score)

    def chosen(self, indices: NDArray[np.intp]) -> Candidates:
        """Return the candidates with these indices, in their order."""
        return Candidates(self.first[indices], self.last[indices], self.label[indices], self.score[indices])

    def shifted(self, words: int) -> Candidates:
        """Return the candidates with larger indices of words."""
        return Candidates(self.first + words, self.last + words, self.label, self.score)


def joined(parts: list[Candidates]) -> Candidates:
    """Return the candidates of several windows, one window after the other."""
    if not parts:
        empty = np.zeros(0, np.int64)
        return Candidates(empty, empty, empty, np.zeros(0, np.float32))
    names = ("first", "last", "label", "score")
    return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def probabilities(logits: Floats) -> Floats:
    """Return the sigmoid, computed in float64 and rounded to float32."""
    with np.errstate(over="ignore"):  # the exponential of a large number is infinite, and the result is 0
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def span_candidates(logits: Floats, threshold: float) -> Candidates:
    """Return the spans with a probability above the threshold, ordered by first word, last word and label.

    :param logits: float32 `[words, max_width, labels]`.
    """
    scores = probabilities(logits)
    first, width, label = np.nonzero(scores > np.float32(threshold))
    inside = first + width < len(scores)
    first, width, label = first[inside], width[inside], label[inside]
    return Candidates(first, first + width, label, scores[first, width, label])


def token_candidates(logits: Floats, threshold: float) -> Candidates:
    """Return the spans whose start, end and words are probable, ordered by first word, label and last word.

    The score is the lowest probability of the start, the end and the words in between. As in GLiNER, the probabilities
    of start and end must be above the threshold, rounded to float32, and those of the words not below it.

    :param logits: float32 `[words, labels, 3]`: start, end, inside.
    """
    scores = probabilities(logits)
    starts, ends = scores[..., 0] > np.float32(threshold), scores[..., 1] > np.float32(threshold)
    parts = [
        _of_start(scores[:, label], int(first), int(label), ends[:, label], threshold)
        for first, label in np.argwhere(starts)
    ]
    return joined(parts)


def _of_start(scores: Floats, first: int, label: int, ends: NDArray[np.bool_], threshold: float) -> Candidates:
    """Return the candidates of one label that start at one word; `scores` is float32 `[words, 3]`."""
    inside = scores[first:, 2]
    below = np.flatnonzero(inside.astype(np.float64) < threshold)
    reach = int(below[0]) if len(below) else len(inside)
    last = np.flatnonzero(ends[first : first + reach])
    lowest = np.minimum.accumulate(inside[:reach])[last]
    score = np.minimum(np.minimum(lowest, scores[first, 0]), scores[first + last, 1])
    return Candidates(np.full(len(last), first, np.int64), first + last, np.full(len(last), label, np.int64), score)


def search(candidates: Candidates, words: int, *, nested: bool, multi_label: bool) -> Candidates:
    """Keep the candidates that fit together, those with a higher score first; the result is sorted by the first word.

    Flat entities have no word in common. Nested ones are inside each other or have no word in common. Of the same
    words, only one entity is kept, or with `multi_label` all. Of equal scores, the earlier candidate is kept.

    :param words: the number of words of the text.
    """
    order = np.argsort(-candidates.score, kind="stable")
    kept = _Kept(words, nested=nested, multi_label=multi_label)
    firsts, lasts = candidates.first.tolist(), candidates.last.tolist()
    chosen = np.array([index for index in order.tolist() if kept.add(firsts[index], lasts[index])], np.intp)
    found = candidates.chosen(chosen)
    return found.chosen(np.argsort(found.first, kind="stable"))


class _Kept:
    """The entities that were kept so far, in arrays by word, so that a new one is compared with none of them."""

    def __init__(self, words: int, *, nested: bool, multi_label: bool) -> None:
        self._nested, self._multi_label = nested, multi_label
        self._spans: set[tuple[int, int]] = set()
        self._covered = np.zeros(words, np.bool_)
        # The largest last word of the entities that start at a word, and the smallest first word of those that end
        self._last_of_start = np.full(words, -1, np.int64)
        self._first_of_end = np.full(words, words, np.int64)

    def add(self, first: int, last: int) -> bool:
        """Keep an entity if it fits; return whether it does."""
        if (first, last) in self._spans:
            return self._multi_label
        if self._conflicts(first, last):
            return False
        self._spans.add((first, last))
        self._covered[first : last + 1] = True
        self._last_of_start[first] = max(self._last_of_start[first], last)
        self._first_of_end[last] = min(self._first_of_end[last], first)
        return True

    def _conflicts(self, first: int, last: int) -> bool:
        """Return whether the entity overlaps one with other words, and for nested ones, whether neither is inside."""
        if not self._nested:
            return bool(self._covered[first : last + 1].any())
        starts_inside = self._last_of_start[first + 1 : last + 1]
        ends_inside = self._first_of_end[first:last]
        return bool((starts_inside > last).any() or (ends_inside < first).any())
