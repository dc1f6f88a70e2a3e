"""Split long texts into chunks that fit a model, at ends of sentences (FORMAT.md, "Summaries")."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

# The characters with Unicode's property White_Space. `str.isspace` also accepts U+001C to U+001F.
WHITE_SPACE = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITESPACE = re.compile(f"[{WHITE_SPACE}]*")
# Only the last mark of a run is matched: trying every run from each of its marks would take quadratic time.
_SENTENCE_END = re.compile(f"[.!?\u2026\u3002\uff01\uff1f](?=[{WHITE_SPACE}])|\n")


def is_whitespace(text: str) -> bool:
    """Return whether every character has Unicode's property White_Space; true for an empty text."""
    return _WHITESPACE.fullmatch(text) is not None


def sentences(text: str) -> Iterator[str]:
    """Split a text into sentences; joined, they are the text.

    A sentence ends after a newline, or after `.`, `!`, `?` and similar marks that whitespace follows. That whitespace
    belongs to the next sentence.
    """
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def split_into_chunks(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Split a text into chunks, each of as many consecutive sentences as fit.

    A sentence that does not fit by itself is a chunk too. Chunks of whitespace alone are left out. The time is linear
    in the length of the text: most chunks have about as many sentences as the chunk before them, where the search
    starts.

    :param fits: tells whether the model can read a text without truncation.
    """
    ends = [0, *itertools.accumulate(map(len, sentences(text)))]
    first, count = 0, 1
    while first < len(ends) - 1:

        def fits_with(count: int, first: int = first) -> bool:
            return count == 1 or fits(text[ends[first] : ends[first + count]])

        count = _largest(fits_with, count, len(ends) - 1 - first)
        chunk = text[ends[first] : ends[first + count]]
        if not is_whitespace(chunk):
            yield chunk
        first += count


def _largest(fits: Callable[[int], bool], start: int, limit: int) -> int:
    """Return a number of sentences that fit, up to `limit`, where one sentence more does not fit.

    The search starts at `start` and goes up or down in steps of 1, 2, 4, ... sentences; then it halves the last step.
    FORMAT.md defines it exactly: if more sentences can have fewer tokens, there can be several such numbers.
    """
    low = high = min(start, limit)
    step = 1
    if fits(low):
        while low < limit and fits(high := min(low + step, limit)):
            low, step = high, 2 * step
    else:
        while not fits(low := max(high - step, 1)):
            high, step = low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
