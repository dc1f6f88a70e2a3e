"""A text that is too long for a model in parts that are not, as FORMAT.md cuts them: where sentences end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# The characters with the property White_Space of Unicode; `str.isspace` knows four more (U+001C to U+001F).
WHITE_SPACE = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITESPACE = re.compile(f"[{WHITE_SPACE}]*")
_SENTENCE_END = re.compile(f"[.!?\u2026\u3002\uff01\uff1f]+(?=[{WHITE_SPACE}])|\n")


def is_whitespace(text: str) -> bool:
    """Whether a text holds nothing but `White_Space` of Unicode."""
    return _WHITESPACE.fullmatch(text) is not None


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, which joined are the text: each begins with the blanks after the one before."""
    start = 0
    for found in _SENTENCE_END.finditer(text):
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]


def parts(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Sentences in a row, as many as fit; one that does not fit by itself is a part too. Blank parts are left out.

    :param fits: whether a part can be read whole.
    """
    part = ""
    for sentence in sentences(text):
        if part and not fits(part + sentence):
            if not is_whitespace(part):
                yield part
            part = ""
        part += sentence
    if not is_whitespace(part):
        yield part
