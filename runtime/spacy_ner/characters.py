"""What the artifact's tables say of characters; the interpreter's own version of Unicode decides nothing."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIGMA, _FINAL_SIGMA = "Σ", "ς"
_LONG = 100
# More than four alike in a row
_ALIKE = re.compile(r"(.)\1{4,}", re.DOTALL)


@dataclass(frozen=True)
class CharacterSet:
    """Characters given as ascending code points `(start, end, start, end, ...)` with exclusive ends."""

    bounds: tuple[int, ...]

    def __contains__(self, letter: str) -> bool:
        """Whether the set has the character."""
        return bisect_right(self.bounds, ord(letter)) % 2 == 1

    def pattern(self) -> str:
        """The inside of a class of regular expressions."""
        pairs = zip(self.bounds[::2], self.bounds[1::2], strict=True)
        return "".join(f"\\U{start:08x}-\\U{end - 1:08x}" for start, end in pairs)


@dataclass(frozen=True)
class Characters:
    """The character tables of spacy_tokenizer.json."""

    space: CharacterSet
    alpha: CharacterSet
    upper: CharacterSet
    digit: CharacterSet
    cased: CharacterSet
    case_ignorable: CharacterSet
    lower: Mapping[str, str]

    def __post_init__(self) -> None:
        """Prepare what `str.translate` reads."""
        object.__setattr__(self, "_lower", {ord(letter): lower for letter, lower in self.lower.items()})
        object.__setattr__(self, "_marks", _Marks(self))

    def is_space(self, text: str) -> bool:
        """Whether all characters are spaces."""
        return all(letter in self.space for letter in text)

    def to_lower(self, text: str) -> str:
        """The text in lower case, with a final sigma where one belongs."""
        if _SIGMA not in text:
            return text.translate(self._lower)  # type: ignore[attr-defined]
        return "".join(
            _FINAL_SIGMA if letter == _SIGMA and self._is_final(text, index) else self.lower.get(letter, letter)
            for index, letter in enumerate(text)
        )

    def _is_final(self, text: str, index: int) -> bool:
        return self._meets_cased(reversed(text[:index])) and not self._meets_cased(text[index + 1 :])

    def _meets_cased(self, letters: Iterable[str]) -> bool:
        for letter in letters:
            if letter not in self.case_ignorable:
                return letter in self.cased
        return False

    def shape(self, text: str) -> str:
        """The text's shape: X, x and d for letters and digits, at most four alike in a row."""
        if len(text) >= _LONG:
            return "LONG"
        marks = text.translate(self._marks)  # type: ignore[attr-defined]
        return _ALIKE.sub(r"\1\1\1\1", marks)

    def mark(self, letter: str) -> str:
        """What a character is in a shape."""
        if letter in self.alpha:
            return "X" if letter in self.upper else "x"
        return "d" if letter in self.digit else letter


class _Marks(dict[int, str]):
    """The marks of characters, computed when they are first met."""

    def __init__(self, characters: Characters) -> None:
        super().__init__()
        self._characters = characters

    def __missing__(self, point: int) -> str:
        mark = self._characters.mark(chr(point))
        self[point] = mark  # there are only so many code points
        return mark
