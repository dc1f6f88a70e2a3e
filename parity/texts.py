"""The parity texts: 1 to 600 words, many scripts, emoji, whitespace and the empty text.

They are composed of sentences.txt, which was written for this purpose. The calibration texts are different.
"""

from __future__ import annotations

import random
import unicodedata
from importlib import resources

PLAIN, HARD = "plain", "hard"
_PLAIN_WORDS = 6
_PLAIN_LATIN_SHARE = 0.9
_LONG_TEXTS = 60
_SNIPPETS = 40
_WHITESPACE = ("", " ", "\n\t  ", "\u00a0")


def parity_texts() -> list[str]:
    """Return all parity texts, more than 500; the result is always the same."""
    groups = _sentences()
    latin = groups["english"] + groups["latin"]
    source = random.Random(20260101)
    snippets = [" ".join(source.choice(latin).split()[: source.randint(1, 5)]) for _ in range(_SNIPPETS)]
    long = [_compose(source, latin, 45 + round(555 * index / (_LONG_TEXTS - 1))) for index in range(_LONG_TEXTS)]
    mixed = [_compose(source, latin + groups["scripts"], 40) for _ in range(10)]
    return [*latin, *groups["scripts"], *groups["odd"], *snippets, *long, *mixed, *_WHITESPACE]


def text_group(text: str) -> str:
    """Return `plain` for a text of at least 6 words in Latin script, else `hard`."""
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    is_plain = len(text.split()) >= _PLAIN_WORDS and letters and latin >= _PLAIN_LATIN_SHARE * len(letters)
    return PLAIN if is_plain else HARD


def _compose(source: random.Random, sentences: list[str], words: int) -> str:
    """Return a text of exactly `words` words from random sentences."""
    chosen: list[str] = []
    while len(chosen) < words:
        chosen += source.choice(sentences).split()
    return " ".join(chosen[:words])


def _sentences() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    current: list[str] = []
    text = resources.files(__package__).joinpath("sentences.txt").read_text(encoding="utf-8")
    for line in text.split("\n"):
        if line.startswith("# "):
            current = groups.setdefault(line[2:], [])
        elif line:
            current.append(line)
    return groups
