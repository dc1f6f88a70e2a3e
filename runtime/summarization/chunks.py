"""Split long texts into chunks that fit a model, at ends of sentences (FORMAT.md, "Summaries")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# The characters with Unicode's property White_Space. `str.isspace` also accepts U+001C to U+001F.
WHITE_SPACE = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITESPACE = re.compile(f"[{WHITE_SPACE}]*")
_SENTENCE_END = re.compile(f"[.!?\u2026\u3002\uff01\uff1f]+(?=[{WHITE_SPACE}])|\n")


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

    A sentence that does not fit by itself is a chunk too. Chunks of whitespace alone are left out.

    :param fits: tells whether the model can read a text without truncation.
    """
    chunk = ""
    for sentence in sentences(text):
        if chunk and not fits(chunk + sentence):
            if not is_whitespace(chunk):
                yield chunk
            chunk = ""
        chunk += sentence
    if not is_whitespace(chunk):
        yield chunk
