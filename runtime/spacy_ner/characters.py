"""Character classes, lower case and word shapes, all from the tables of spacy_tokenizer.json.

The tables are part of the artifact, so that results do not depend on the Unicode version of the Python interpreter.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIGMA, _FINAL_SIGMA = "Σ", "ς"
# spaCy gives texts of this many characters or more the shape "LONG".
_LONG_TEXT = 100
# A pattern for five or more equal characters in a row.
_REPEATED = re.compile(r"(.)\1{4,}", re.DOTALL)


@dataclass(frozen=True)
class CharacterSet:
    """A set of characters, stored as ascending code points `(start, end, start, end, ...)` with exclusive ends."""

    bounds: tuple[int, ...]

    def __contains__(self, character: str) -> bool:
        """Return whether the set contains a single character."""
        return bisect_right(self.bounds, ord(character)) % 2 == 1

    def pattern(self) -> str:
        """Return the content of a regular expression class that matches the set, without the brackets."""
        if not self.bounds:
            return r"\ud800"  # a surrogate, which never occurs in texts: an empty class is a syntax error
        pairs = zip(self.bounds[::2], self.bounds[1::2], strict=True)
        return "".join(f"\\U{start:08x}-\\U{end - 1:08x}" for start, end in pairs)


@dataclass(frozen=True)
class Characters:
    """The character tables of spacy_tokenizer.json; `lower` maps a character to its lower case if that differs."""

    space: CharacterSet
    alpha: CharacterSet
    upper: CharacterSet
    digit: CharacterSet
    cased: CharacterSet
    case_ignorable: CharacterSet
    lower: Mapping[str, str]

    def __post_init__(self) -> None:
        """Build the tables with which `str.translate` computes lower case and word shapes."""
        object.__setattr__(self, "_lower", {ord(character): lower for character, lower in self.lower.items()})
        object.__setattr__(self, "_shapes", _ShapeTable(self))

    def is_space(self, text: str) -> bool:
        """Return whether every character of the text is in `space`; true for an empty text."""
        return all(character in self.space for character in text)

    def to_lower(self, text: str) -> str:
        """Return the text in lower case; a capital sigma at the end of a word becomes a final sigma."""
        if _SIGMA not in text:
            return text.translate(self._lower)  # type: ignore[attr-defined]
        return "".join(
            _FINAL_SIGMA
            if character == _SIGMA and self._is_final(text, index)
            else self.lower.get(character, character)
            for index, character in enumerate(text)
        )

    def _is_final(self, text: str, index: int) -> bool:
        """Return whether a capital sigma at `index` ends a word: a cased character precedes it, and none follows it.

        Case-ignorable characters before and after the sigma are skipped.
        """
        return self._starts_cased(reversed(text[:index])) and not self._starts_cased(text[index + 1 :])

    def _starts_cased(self, characters: Iterable[str]) -> bool:
        """Return whether the first character of a sequence, after case-ignorable ones are skipped, is cased."""
        for character in characters:
            if character not in self.case_ignorable:
                return character in self.cased
        return False

    def shape(self, text: str) -> str:
        """Return the word shape as spaCy computes it: `Xxxxx-dd` for `Annabelle-42`.

        Capital letters become X, other letters x, digits d; a run of equal characters is cut to four.
        """
        if len(text) >= _LONG_TEXT:
            return "LONG"
        shape = text.translate(self._shapes)  # type: ignore[attr-defined]
        return _REPEATED.sub(r"\1\1\1\1", shape)

    def shape_of_character(self, character: str) -> str:
        """Return X for a capital letter, x for another letter, d for a digit, and any other character itself."""
        if character in self.alpha:
            return "X" if character in self.upper else "x"
        return "d" if character in self.digit else character


class _ShapeTable(dict[int, str]):
    """A table for `str.translate` from code points to shape characters, filled on first use."""

    def __init__(self, characters: Characters) -> None:
        super().__init__()
        self._characters = characters

    def __missing__(self, code_point: int) -> str:
        shape = self._characters.shape_of_character(chr(code_point))
        self[code_point] = shape  # the table needs no limit: there are at most 1,114,112 code points
        return shape
