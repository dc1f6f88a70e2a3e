"""Documents of this machine in English, French or Spanish; every call returns the same documents.

English documents come from man pages (/usr/share/man), documentation (changelogs, news, README files, copyright notices
of /usr/share/doc, licenses of /usr/share/common-licenses), the descriptions of installed Debian packages, and the
descriptions and docstrings of installed Python packages. French and Spanish documents come from translated man pages
(/usr/share/man/fr and es), gettext catalogs of programs and Python packages (/usr/share/locale and others), names of
countries, regions and languages (catalogs of iso-codes) and spaCy's example sentences. A part of every corpus is
generated, see onnx_ml_bridge.parity.adversarial. Other machines have other texts. README.md lists Debian packages that
add texts.
"""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx_ml_bridge.parity.adversarial import adversarial_texts

from .system_texts import STREAMS

ADVERSARIAL = "generated"
_SEED = 20260501
_ADVERSARIAL_SHARE = {"en": 0.08, "fr": 0.2, "es": 0.2}
_LENGTHS = {"en": (150, 1500), "fr": (100, 1500), "es": (100, 1500)}
_MIN_LETTERS = 0.6
_MIN_FUNCTION_WORDS = {"en": 0.12, "fr": 0.12, "es": 0.12}
_FUNCTION_WORDS = {
    "en": "the a an of to and in is that for it with as be on by this are or not from at if you was has have which",
    "fr": "le la les l un une des de du d et en est que qu qui pour dans il elle on ce cette pas ne sur par avec ou au"
    " aux sont être s se à été plus vous",
    "es": "el la los las un una de del y en es que para por con no se su al lo como más o este esta son ser si está"
    " sus fue ha puede",
}
_HINTS = {
    "en": "Install Python packages, or man pages and documentation (Debian: manpages-dev, and no dpkg path-exclude).",
    "fr": "Install translated texts (Debian: manpages-fr, manpages-fr-dev, iso-codes, gettext).",
    "es": "Install translated texts (Debian: manpages-es, manpages-es-dev, iso-codes, gettext).",
}
_WORD = re.compile(r"[^\W\d_]+")
# Matches a capital letter within a sentence, or a number. Texts without either are not used, because they rarely
# contain an entity.
_NAME = re.compile(r"(?<=[\w,;(] )[A-Z]\w|\d\d")


class TooFewTexts(Exception):
    """The machine has fewer texts in the language than a run needs."""

    def __init__(self, language: str, expected: int, actual: int) -> None:
        """Compose the message, which names packages with more texts."""
        super().__init__(f"texts in {language!r}: expected {expected:,}, got {actual:,}. {_HINTS[language]}")
        self.language, self.expected, self.actual = language, expected, actual


@dataclass(frozen=True)
class Corpus:
    """Documents in one language in a random order, and the number of documents by origin."""

    language: str
    texts: tuple[str, ...]
    origins: dict[str, int]


def documents(language: str, count: int, specials: Sequence[str] = ()) -> Corpus:
    """Return `count` documents in a language; the choice of documents also depends on `count`.

    :param language: `en`, `fr` or `es`.
    :param specials: strings to insert into generated documents, such as the special cases of the tokenizer under test.
    :raises TooFewTexts: if the machine has too few texts.
    :raises ValueError: for any other language.
    """
    if language not in STREAMS:
        raise ValueError(f"documents exist in {', '.join(STREAMS)}, not in {language!r}")
    adversarial = round(count * _ADVERSARIAL_SHARE[language])
    drawn = _interleaved(language, count - adversarial)
    if len(drawn) < count - adversarial:
        raise TooFewTexts(language, count - adversarial, len(drawn))
    drawn += [(ADVERSARIAL, text) for text in adversarial_texts(language, adversarial, _SEED, specials)]
    random.Random(_SEED).shuffle(drawn)
    origins = Counter(origin for origin, _ in drawn)
    return Corpus(language, tuple(text for _, text in drawn), dict(sorted(origins.items())))


def _interleaved(language: str, count: int) -> list[tuple[str, str]]:
    """Return up to `count` pairs of a stream's name and a text; the texts differ and come from all streams in turn."""
    active = deque(
        (name, _usable(stream(language, random.Random(f"{_SEED} {name}")), language))
        for name, stream in STREAMS[language].items()
    )
    drawn: list[tuple[str, str]] = []
    seen: set[str] = set()
    while active and len(drawn) < count:
        name, texts = active.popleft()
        text = next(texts, None)
        if text is None:
            continue
        active.append((name, texts))
        key = "".join(_WORD.findall(text)).lower()[:200]  # equal for texts that differ only in numbers or whitespace
        if key not in seen:
            seen.add(key)
            drawn.append((name, text))
    return drawn


def _usable(texts: Iterator[str], language: str) -> Iterator[str]:
    shortest, longest = _LENGTHS[language]
    for text in texts:
        if shortest <= len(text) <= longest and _is_prose(text) and _is_in(language, text):
            yield text


def _is_prose(text: str) -> bool:
    """Return whether the text has enough letters, and a possible name or a number."""
    visible = [character for character in text if not character.isspace()]
    letters = sum(character.isalpha() for character in visible)
    return letters >= _MIN_LETTERS * len(visible) and _NAME.search(text) is not None


def _is_in(language: str, text: str) -> bool:
    """Return whether the text has enough function words of the language, and not more of another language."""
    words = _WORD.findall(text.lower())
    shares = {name: sum(word in function for word in words) for name, function in _FUNCTION_SETS.items()}
    enough = shares[language] >= _MIN_FUNCTION_WORDS[language] * len(words)
    return enough and shares[language] == max(shares.values())


_FUNCTION_SETS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
