"""Divide the words of a text into windows, of which each owns some of the words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class WordRange:
    """The words of one window, as indices of words in the text; the ends are exclusive.

    Entities that start at one of the words from `own_start` to `own_end` are taken from this window.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def plan_windows(counts: NDArray[np.int64], max_words: int, max_tokens: int, stride: int) -> Iterator[WordRange]:
    """Yield the windows of a text; none if it has no words.

    A window has as many words as its limits allow, at least one. Consecutive windows share `stride` words, or half of
    the words of the first one if these are fewer. Each owns the words up to the middle of the overlap.

    :param counts: the number of tokens of each word, int64 `[words]`.
    :param max_tokens: the maximum number of tokens of the words of a window.
    """
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    start = own = 0
    while start < len(counts):
        fitting = int(np.searchsorted(ends, ends[start] + max_tokens, side="right")) - 1
        end = max(start + 1, min(fitting, start + max_words, len(counts)))
        if end == len(counts):
            yield WordRange(start, end, own, end)
            return
        following = end - min(stride, (end - start) // 2)
        middle = (following + end) // 2
        yield WordRange(start, end, own, middle)
        start, own = following, middle
