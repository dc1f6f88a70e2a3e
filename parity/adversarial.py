"""Adversarial texts that reveal differences between two tokenizers or two entity recognizers.

The generator combines the words of adversarial_words.py: all kinds of whitespace, invisible characters, emoji
sequences, combining marks, letters with unusual case mappings, several scripts, very long tokens, URLs, nested quotes,
chains of hyphens, contractions and abbreviations. Names, dates and amounts occur everywhere, so that the texts contain
entities. No text contains a surrogate.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence

from .adversarial_words import (
    ADDRESSES,
    CHAINS,
    CLOSERS,
    CODE_POINT_RANGES,
    EMOJI,
    EMOTICONS,
    INVISIBLE,
    LETTERS,
    MARKS,
    NUMBERS,
    OPENERS,
    SCRIPTS,
    WHITESPACE,
    WORDS,
    Words,
)

_LONG_TOKENS = (99, 100, 101, 5000)
_ODD = (WHITESPACE, INVISIBLE, EMOJI, EMOTICONS, MARKS, LETTERS, SCRIPTS, ADDRESSES, NUMBERS, OPENERS, CLOSERS, CHAINS)


def adversarial_texts(language: str, count: int, seed: int, specials: Sequence[str] = ()) -> list[str]:
    """Generate `count` texts; the result depends only on the arguments, and a smaller `count` returns a prefix.

    About the first hundred texts are the same for every seed: the empty text, only whitespace, whitespace around a
    name, and tokens of 99 to 5,000 characters.

    :param language: `en`, `fr` or `es`; English words are used for any other language.
    :param specials: strings to insert into the texts, such as the special cases of the tokenizer under test.
    """
    words = WORDS.get(language, WORDS["en"])
    fixed = _fixed(words)
    make = _Maker(random.Random(f"{language} {seed}"), words, tuple(specials))
    return fixed[:count] + [make.text() for _ in range(count - len(fixed))]


def _fixed(words: Words) -> list[str]:
    """Return the texts that are generated for every seed: empty, invisible and very long ones."""
    name = words.people[0]
    invisible = ["", " ", *WHITESPACE, *INVISIBLE, "".join(WHITESPACE), "".join(INVISIBLE)]
    long = [f"{name} {'a' * length} {name}" for length in _LONG_TOKENS]
    odd_long = ["é" * 100, "x-" * 2500, "." * 5000, "(" * 300, f"({name}" * 100, "1" * 101, "İ" * 100, "'" * 500]
    around = [f"{whitespace}{name}{whitespace}" for whitespace in WHITESPACE]
    return [*invisible, *long, *odd_long, *around]


class _Maker:
    """Generates random adversarial texts; all random choices come from one random number generator."""

    def __init__(self, source: random.Random, words: Words, specials: tuple[str, ...]) -> None:
        self._source = source
        self._words = words
        # Two lists with equal probability: the abbreviations of the language, and the special cases of the tokenizer
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
        """Return one text, which a randomly chosen generator method composes."""
        kinds = (self._changed, self._prose, self._soup, self._characters, self._chunk)
        return self._source.choices(kinds, (70, 8, 12, 6, 4))[0]()

    def _changed(self) -> str:
        """Return sentences with up to six random modifications."""
        text = self._prose()
        for _ in range(self._source.randint(1, 6)):
            text = self._source.choice(self._changes)(text)
        return text

    def _prose(self) -> str:
        separator = self._source.choice((" ", " ", " ", "\n", "\n\n", "  ", ""))
        return separator.join(self._sentence() for _ in range(self._source.choice((1, 1, 2, 2, 3, 5))))

    def _sentence(self) -> str:
        sentence = self._source.choice(self._words.sentences)
        for placeholder, names in (
            ("{person}", self._words.people),
            ("{place}", self._words.locations),
            ("{organization}", self._words.organizations),
            ("{date}", self._words.dates),
            ("{amount}", self._words.amounts),
        ):
            while placeholder in sentence:
                sentence = sentence.replace(placeholder, self._source.choice(names), 1)
        return sentence

    def _soup(self) -> str:
        """Return a text of up to 25 special cases, names and unusual strings, with or without whitespace in between."""
        names = self._words.people + self._words.locations + self._words.organizations
        strings = []
        for _ in range(self._source.randint(1, 25)):
            strings.append(self._source.choice(self._source.choice((*_ODD, *self._specials, names, names))))
            strings.append(self._source.choice(("", " ", " ", self._source.choice(WHITESPACE))))
        return "".join(strings)

    def _chunk(self) -> str:
        """Return a text that is one string that tokenizers handle specially, such as a number, a URL or an emoticon."""
        return self._source.choice(self._source.choice((*self._specials, NUMBERS, ADDRESSES, EMOTICONS, EMOJI)))

    def _characters(self) -> str:
        """Return a text of up to 40 random characters with a name among them."""
        strings = [self._random_character() for _ in range(self._source.randint(1, 40))]
        strings.insert(self._source.randint(0, len(strings)), self._source.choice(self._words.people))
        return self._source.choice(("", " ", "")).join(strings)

    def _random_character(self) -> str:
        return chr(self._source.randint(*self._source.choice(CODE_POINT_RANGES)))

    def _offset(self, text: str) -> int:
        return self._source.randint(0, len(text))

    def _insert(self, text: str, inserted: str) -> str:
        offset = self._offset(text)
        return text[:offset] + inserted + text[offset:]

    def _word(self, text: str, change: Callable[[str], str]) -> str:
        """Change one random word of a text; words are separated by U+0020."""
        words = text.split(" ")
        index = self._source.randrange(len(words))
        words[index] = change(words[index])
        return " ".join(words)

    def _whitespace(self, text: str) -> str:
        """Add a random whitespace string before or after one word, or replace every space of the text by it."""
        whitespace = self._source.choice(WHITESPACE)
        if self._source.random() < 0.1:
            return text.replace(" ", whitespace)
        return self._word(text, lambda word: self._source.choice((whitespace + word, word + whitespace)))

    def _invisible(self, text: str) -> str:
        return self._insert(text, self._source.choice(INVISIBLE))

    def _recase(self, text: str) -> str:
        change = self._source.choice((str.upper, str.lower, str.title, str.swapcase, str.capitalize))
        return change(text) if self._source.random() < 0.3 else self._word(text, change)

    def _enclose(self, text: str) -> str:
        """Enclose a word in up to three opening and closing marks, which need not match."""
        before = "".join(self._source.choices(OPENERS, k=self._source.randint(0, 3)))
        after = "".join(self._source.choices(CLOSERS, k=self._source.randint(0, 3)))
        return self._word(text, lambda word: before + word + after)

    def _affix(self, text: str) -> str:
        """Insert a punctuation mark one to eight times before, after or into a word."""
        sign = self._source.choice((*OPENERS, *CLOSERS, *CHAINS)) * self._source.choice((1, 1, 2, 3, 8))
        return self._word(text, lambda word: self._source.choice((sign + word, word + sign, self._insert(word, sign))))

    def _special(self, text: str) -> str:
        """Append a special case of the tokenizer to a word; random punctuation and a separator may be added."""
        chunk = self._source.choice(self._source.choice(self._specials))
        before = self._source.choice(("", "", *OPENERS, *self._words.glued))
        after = self._source.choice(("", "", *CLOSERS, *CHAINS))
        recase = self._source.choice((str, str, str, str.upper, str.title))
        separator = self._source.choice((" ", " ", " ", "", "-"))
        return self._word(text, lambda word: word + separator + before + recase(chunk) + after)

    def _glued(self, text: str) -> str:
        """Prepend an elided article, a prefix or an opening mark to a word."""
        return self._word(text, lambda word: self._source.choice(self._words.glued) + word)

    def _odd(self, text: str) -> str:
        odd = self._source.choice(self._source.choice(_ODD))
        return self._word(text, lambda word: self._source.choice((" ", " ", "")).join((word, odd)))

    def _mark(self, text: str) -> str:
        return self._insert(text, self._source.choice(MARKS))

    def _letter(self, text: str) -> str:
        """Insert a letter with an unusual case mapping before, into or after a word."""
        letter = self._source.choice(LETTERS)
        return self._word(
            text, lambda word: self._source.choice((letter + word, word + letter, self._insert(word, letter)))
        )

    def _chain(self, text: str) -> str:
        """Join two to five consecutive words with a punctuation mark."""
        words = text.split(" ")
        start, length = self._source.randrange(len(words)), self._source.randint(2, 5)
        joined = self._source.choice(CHAINS).join(words[start : start + length])
        return " ".join([*words[:start], joined, *words[start + length :]])

    def _cut(self, text: str) -> str:
        """Cut off the beginning or the end of a text, possibly between a letter and its combining mark."""
        offset = self._offset(text)
        return text[offset:] if self._source.random() < 0.5 else text[:offset]

    def _join(self, text: str) -> str:
        """Join one random word of a text with the next word by removing the space between them."""
        return self._word(text, lambda word: word + "\0").replace("\0 ", "").replace("\0", "")

    def _long(self, text: str) -> str:
        """Repeat a word up to about 100 characters, where spaCy's word shape changes, and sometimes up to 1,200."""
        length = self._source.choices((99, 100, 101, 130, 1200), (8, 8, 8, 4, 1))[0]
        return self._word(text, lambda word: (word * (length // max(1, len(word)) + 1))[:length])

    def _normal_form(self, text: str) -> str:
        return unicodedata.normalize(self._source.choice(("NFD", "NFD", "NFKC", "NFKD", "NFC")), text)

    def _character(self, text: str) -> str:
        return self._insert(text, self._random_character())
