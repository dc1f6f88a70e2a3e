r"""Split texts into words as GLiNER does: `\w+(?:[-_]\w+)*|\S`, with the characters that the artifact lists."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifacts import strict_json
from ...artifacts.errors import ArtifactError
from ...artifacts.reading import reading_errors

_KEYS = ("space", "word")
_CODES = 0x110000


class WordSplitter:
    """Splits texts into words; see FORMAT.md. Thread-safe."""

    def __init__(self, word: list[int], space: list[int]) -> None:
        """Compile the characters of words and of whitespace: code points, each a start and an exclusive end in turn."""
        inside, outside = _character_class(word), _character_class(space)
        self._words = re.compile(f"[{inside}]+(?:[-_][{inside}]+)*|[^{outside}]")

    @classmethod
    def read(cls, path: Path) -> WordSplitter:
        """Read the file with the characters of words.

        :raises ArtifactError: with the code `tokenizer` if the file is invalid.
        """
        with reading_errors():
            raw = path.read_bytes()
        try:
            ranges = strict_json.parse(raw, path.name)
            if sorted(ranges) != sorted(_KEYS) or not all(_is_valid(ranges[key]) for key in _KEYS):
                raise ValueError("expected word and space, each with ascending code points of starts and ends")
        except (ArtifactError, ValueError, TypeError) as error:
            raise ArtifactError("tokenizer", f"{path.name} is invalid: {error}") from error
        return cls(ranges["word"], ranges["space"])

    def split(self, text: str) -> NDArray[np.int64]:
        """Return the offsets of the words in characters, int64 `[words, 2]`: starts and exclusive ends."""
        spans = [match.span() for match in self._words.finditer(text)]
        return np.array(spans, np.int64).reshape(-1, 2)


def _is_valid(ranges: object) -> bool:
    return (
        isinstance(ranges, list)
        and len(ranges) > 0
        and len(ranges) % 2 == 0
        and all(type(code) is int for code in ranges)
        and ranges[0] >= 0
        and ranges[-1] <= _CODES
        and all(a < b for a, b in pairwise(ranges))
    )


def _character_class(ranges: list[int]) -> str:
    pairs = zip(ranges[::2], ranges[1::2], strict=True)
    return "".join(f"\\U{start:08x}-\\U{end - 1:08x}" for start, end in pairs)
