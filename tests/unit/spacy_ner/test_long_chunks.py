"""Splitting one long chunk: the number of characters that patterns read is linear in its length."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from examples import VALID
from onnx_ml_bridge.runtime.spacy_ner.rules import Affix, read_rules
from onnx_ml_bridge.runtime.spacy_ner.tokenizer import RuleTokenizer

TINY = read_rules(VALID / "tiny-spacy" / "spacy_tokenizer.json")
# A suffix without limit, as in spaCy's rules
DOTS = Affix(re.compile(r"\.\.+\Z"), None, re.compile(r"\."))
RULES = replace(TINY, suffix=(*TINY.suffix, DOTS))


@dataclass
class Counting:
    """A pattern that counts the characters of the texts it is applied to."""

    pattern: re.Pattern[str]
    counter: list[int]

    def match(self, text: str, start: int = 0, end: int | None = None) -> Any:
        self.counter[0] += 1 if start else len(text)
        return self.pattern.match(text, start, len(text) if end is None else end)

    def search(self, text: str) -> Any:
        self.counter[0] += len(text)
        return self.pattern.search(text)


class Texts:
    """A lexicon whose index of a token is its text."""

    def indices_of(self, tokens: Any) -> tuple[Any, ...]:
        return tuple(text for text, _ in tokens)


def counted_split(chunk: str) -> tuple[list[str], int]:
    """Return the tokens of a chunk, and the number of characters that affixes without limit read to find them."""
    tokenizer, counter = RuleTokenizer(RULES, Texts()), [0]  # type: ignore[arg-type]
    for name in ("_prefix", "_unbounded"):
        affixes = [replace(each, pattern=Counting(each.pattern, counter)) for each in getattr(tokenizer._affixes, name)]
        setattr(tokenizer._affixes, name, affixes)
    return [text for text, _ in tokenizer._split(chunk)], counter[0]


@pytest.mark.parametrize("word", ["(", ")", '"', "..'s", "...", "(..", "..)", '".."'])
def test_affixes_of_a_long_chunk_are_cut_in_linear_time(word):
    (tokens, half), (_, whole) = (counted_split(word * times) for times in (500, 1000))
    assert "".join(tokens) == word * 500
    assert 2 * whole <= 5 * half


@pytest.mark.parametrize("chunk", ["..a..", "a..b..", '..".."..', "....", "a...)..,", "..(..a", "(" * 100 + "..a.."])
def test_unlimited_affixes_are_those_of_the_whole_chunk(chunk):
    naive = replace(RULES, prefix=tuple(replace(each, consumed=None) for each in RULES.prefix))
    naive = replace(naive, suffix=(*TINY.suffix, replace(DOTS, consumed=None)))
    for rules in (RULES, naive):
        assert RuleTokenizer(rules, Texts())._split(chunk) == RuleTokenizer(naive, Texts())._split(chunk)  # type: ignore[arg-type]
