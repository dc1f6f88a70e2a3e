"""What the artifact's tables say of characters; the interpreter's own version of Unicode decides nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIGMA, _FINAL_SIGMA = "Σ", "ς"
_LONG = 100
_MOST_ALIKE = 4


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

    def is_space(self, text: str) -> bool:
        """Whether all characters are spaces."""
        return all(letter in self.space for letter in text)

    def to_lower(self, text: str) -> str:
        """The text in lower case, with a final sigma where one belongs."""
        if _SIGMA not in text:
            return "".join(self.lower.get(letter, letter) for letter in text)
        return "".join(
            _FINAL_SIGMA if letter == _SIGMA and self._is_final(text, place) else self.lower.get(letter, letter)
            for place, letter in enumerate(text)
        )

    def _is_final(self, text: str, place: int) -> bool:
        return self._meets_cased(reversed(text[:place])) and not self._meets_cased(text[place + 1 :])

    def _meets_cased(self, letters: Iterable[str]) -> bool:
        for letter in letters:
            if letter not in self.case_ignorable:
                return letter in self.cased
        return False

    def shape(self, text: str) -> str:
        """The text's shape: X, x and d for letters and digits, at most four alike in a row."""
        if len(text) >= _LONG:
            return "LONG"
        kept: list[str] = []
        last, alike = "", 0
        for letter in text:
            mark = self._mark(letter)
            alike = alike + 1 if mark == last else 0
            last = mark
            if alike < _MOST_ALIKE:
                kept.append(mark)
        return "".join(kept)

    def _mark(self, letter: str) -> str:
        if letter in self.alpha:
            return "X" if letter in self.upper else "x"
        return "d" if letter in self.digit else letter
