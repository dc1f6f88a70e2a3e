"""Texts made to find any difference between two tokenizers or two entity recognizers.

Generated from nasty_words.py: all kinds of blanks, invisible characters, emoji sequences, combining marks, letters of
odd case, other scripts, very long tokens, addresses, nested quotes, chains of hyphens, contractions and abbreviations
with whatever may stand around them; and names, dates and amounts everywhere, so that there are entities to get wrong.
No text has a surrogate: those are errors.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence

from .adversarial_words import (
    ADDRESSES,
    BLANKS,
    CHAINS,
    CLOSERS,
    EMOJI,
    EMOTICONS,
    INVISIBLE,
    LETTERS,
    MARKS,
    NUMBERS,
    OPENERS,
    SCRIPTS,
    STRETCHES,
    WORDS,
    Words,
)

_LONG_TOKENS = (99, 100, 101, 5000)
_ODD = (BLANKS, INVISIBLE, EMOJI, EMOTICONS, MARKS, LETTERS, SCRIPTS, ADDRESSES, NUMBERS, OPENERS, CLOSERS, CHAINS)


def adversarial_texts(language: str, count: int, seed: int, specials: Sequence[str] = ()) -> list[str]:
    """`count` texts, the same ones for the same arguments; fewer are the beginning of more.

    The first hundred or so are fixed for each language: nothing at all, blanks alone and around a name, tokens of 99
    to 5,000 characters.

    :param language: `en`, `fr` or `es`; for any other one the words are English.
    :param specials: more chunks to put into texts, such as the special cases of the tokenizer under test.
    """
    words = WORDS.get(language, WORDS["en"])
    fixed = _fixed(words)
    make = _Maker(random.Random(f"{language} {seed}"), words, tuple(specials))
    return fixed[:count] + [make.text() for _ in range(count - len(fixed))]


def _fixed(words: Words) -> list[str]:
    """Edges that must not be left to chance."""
    name = words.people[0]
    whitespace = ["", " ", *BLANKS, *INVISIBLE, "".join(BLANKS), "".join(INVISIBLE)]
    long = [f"{name} {'a' * length} {name}" for length in _LONG_TOKENS]
    odd_long = ["é" * 100, "x-" * 2500, "." * 5000, "(" * 300, f"({name}" * 100, "1" * 101, "İ" * 100, "'" * 500]
    around = [f"{whitespace}{name}{whitespace}" for whitespace in BLANKS]
    return [*whitespace, *long, *odd_long, *around]


class _Maker:
    """Draws texts from one source of randomness."""

    def __init__(self, source: random.Random, words: Words, specials: tuple[str, ...]) -> None:
        self._source = source
        self._words = words
        # The language's own abbreviations are the ones people write: they come up as often as all the others.
        self._specials = (words.specials, specials or words.specials)
        self._changes: tuple[Callable[[str], str], ...] = (
            self._whitespace,
            self._whitespace,
            self._invisible,
            self._recase,
            self._enclose,
            self._enclose,
            self._affix,
            self._special,
            self._special,
            self._glued,
            self._odd,
            self._odd,
            self._mark,
            self._letter,
            self._chain,
            self._cut,
            self._join,
            self._long,
            self._normal_form,
            self._character,
        )

    def text(self) -> str:
        """One text of any kind, sometimes a single piece."""
        kinds = (self._changed, self._prose, self._soup, self._characters, self._chunk)
        return self._source.choices(kinds, (70, 8, 12, 6, 4))[0]()

    def _changed(self) -> str:
        """Sentences with some things done to them."""
        found = self._prose()
        for _ in range(self._source.randint(1, 6)):
            found = self._source.choice(self._changes)(found)
        return found

    def _prose(self) -> str:
        separator = self._source.choice((" ", " ", " ", "\n", "\n\n", "  ", ""))
        return separator.join(self._sentence() for _ in range(self._source.choice((1, 1, 2, 2, 3, 5))))

    def _sentence(self) -> str:
        found = self._source.choice(self._words.sentences)
        for index, names in (
            ("{person}", self._words.people),
            ("{place}", self._words.indices),
            ("{organization}", self._words.organizations),
            ("{date}", self._words.dates),
            ("{amount}", self._words.amounts),
        ):
            while index in found:
                found = found.replace(index, self._source.choice(names), 1)
        return found

    def _soup(self) -> str:
        """Pieces of every kind, with anything or nothing between them."""
        names = self._words.people + self._words.indices + self._words.organizations
        pieces = []
        for _ in range(self._source.randint(1, 25)):
            pieces.append(self._source.choice(self._source.choice((*_ODD, *self._specials, names, names))))
            pieces.append(self._source.choice(("", " ", " ", self._source.choice(BLANKS))))
        return "".join(pieces)

    def _chunk(self) -> str:
        """One chunk that tokenizers treat in an own way, and nothing else."""
        return self._source.choice(self._source.choice((*self._specials, NUMBERS, ADDRESSES, EMOTICONS, EMOJI)))

    def _characters(self) -> str:
        """Random characters, a name among them."""
        found = [self._random_character() for _ in range(self._source.randint(1, 40))]
        found.insert(self._source.randint(0, len(found)), self._source.choice(self._words.people))
        return self._source.choice(("", " ", "")).join(found)

    def _random_character(self) -> str:
        return chr(self._source.randint(*self._source.choice(STRETCHES)))

    def _location(self, text: str) -> int:
        return self._source.randint(0, len(text))

    def _insert(self, text: str, what: str) -> str:
        index = self._location(text)
        return text[:index] + what + text[index:]

    def _word(self, text: str, change: Callable[[str], str]) -> str:
        """The text with one of its words changed; words are what blanks (U+0020) separate."""
        words = text.split(" ")
        index = self._source.randrange(len(words))
        words[index] = change(words[index])
        return " ".join(words)

    def _whitespace(self, text: str) -> str:
        """Other blanks instead of one, or of all."""
        whitespace = self._source.choice(BLANKS)
        if self._source.random() < 0.1:
            return text.replace(" ", whitespace)
        return self._word(text, lambda word: self._source.choice((whitespace + word, word + whitespace)))

    def _invisible(self, text: str) -> str:
        return self._insert(text, self._source.choice(INVISIBLE))

    def _recase(self, text: str) -> str:
        change = self._source.choice((str.upper, str.lower, str.title, str.swapcase, str.capitalize))
        return change(text) if self._source.random() < 0.3 else self._word(text, change)

    def _enclose(self, text: str) -> str:
        """Up to three openers and closers around a word, matching or not."""
        before = "".join(self._source.choices(OPENERS, k=self._source.randint(0, 3)))
        after = "".join(self._source.choices(CLOSERS, k=self._source.randint(0, 3)))
        return self._word(text, lambda word: before + word + after)

    def _affix(self, text: str) -> str:
        """The same sign several times before or after a word, or in it."""
        sign = self._source.choice((*OPENERS, *CLOSERS, *CHAINS)) * self._source.choice((1, 1, 2, 3, 8))
        return self._word(text, lambda word: self._source.choice((sign + word, word + sign, self._insert(word, sign))))

    def _special(self, text: str) -> str:
        """A chunk that the tokenizer knows, with signs around it, as a word of its own or stuck to one."""
        chunk = self._source.choice(self._source.choice(self._specials))
        before = self._source.choice(("", "", *OPENERS, *self._words.glued))
        after = self._source.choice(("", "", *CLOSERS, *CHAINS))
        recase = self._source.choice((str, str, str, str.upper, str.title))
        separator = self._source.choice((" ", " ", " ", "", "-"))
        return self._word(text, lambda word: word + separator + before + recase(chunk) + after)

    def _glued(self, text: str) -> str:
        """Elided articles, prefixes and opening marks at the beginning of a word."""
        return self._word(text, lambda word: self._source.choice(self._words.glued) + word)

    def _odd(self, text: str) -> str:
        piece = self._source.choice(self._source.choice(_ODD))
        return self._word(text, lambda word: self._source.choice((" ", " ", "")).join((word, piece)))

    def _mark(self, text: str) -> str:
        return self._insert(text, self._source.choice(MARKS))

    def _letter(self, text: str) -> str:
        """Letters of odd case at the beginning, inside or at the end of a word."""
        letter = self._source.choice(LETTERS)
        return self._word(
            text, lambda word: self._source.choice((letter + word, word + letter, self._insert(word, letter)))
        )

    def _chain(self, text: str) -> str:
        """Two to five words joined by a sign instead of a blank."""
        words = text.split(" ")
        start, length = self._source.randrange(len(words)), self._source.randint(2, 5)
        joined = self._source.choice(CHAINS).join(words[start : start + length])
        return " ".join([*words[:start], joined, *words[start + length :]])

    def _cut(self, text: str) -> str:
        """Begins or ends anywhere, maybe between a letter and its mark."""
        index = self._location(text)
        return text[index:] if self._source.random() < 0.5 else text[:index]

    def _join(self, text: str) -> str:
        """A blank lost."""
        return self._word(text, lambda word: word + "\0").replace("\0 ", "").replace("\0", "")

    def _long(self, text: str) -> str:
        """A word repeated up to about the length at which shapes change, seldom to a very long one."""
        length = self._source.choices((99, 100, 101, 130, 1200), (8, 8, 8, 4, 1))[0]
        return self._word(text, lambda word: (word * (length // max(1, len(word)) + 1))[:length])

    def _normal_form(self, text: str) -> str:
        return unicodedata.normalize(self._source.choice(("NFD", "NFD", "NFKC", "NFKD", "NFC")), text)

    def _character(self, text: str) -> str:
        return self._insert(text, self._random_character())
