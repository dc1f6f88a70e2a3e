"""The portable form of a tokenizer's pattern matches exactly the same texts as the original pattern."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_ml_bridge.export.spacy_ner.patterns import join, parse_alternatives, ranges_of
from onnx_ml_bridge.runtime.spacy_ner.rules import Rules, compile_pattern
from refusing import refused
from spacy.tokenizer import Tokenizer
from spacy_rules import LANGUAGES, empty_pipeline, odd_chunks, rules_of

EVERY = "".join(chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000)
# The characters of random texts. They include letters whose conversion between upper and lower case is special (dotted
# and dotless i, long s, Kelvin sign, Angstrom sign, sharp s, final sigma, micro sign, title case), combining marks,
# digits and whitespace.
ODD = "aAbkKsSiIzZ09_-.'(İıſ\u212a\u212bßẞåÅσςΣµΜμǅﬁ\u0301\u0345\u0307\u0e31٣²½一😀\u200d\u00a0\u2028\x1c\t \u00ad"


def portable(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return compile_pattern(join(parse_alternatives(pattern)))


def spans(pattern: re.Pattern[str], text: str) -> list[Any]:
    """Return what the methods `search`, `match` and `finditer` of a pattern find, which the tokenizer uses."""
    found = [pattern.search(text), pattern.match(text)]
    return [each and each.span() for each in found] + [each.span() for each in pattern.finditer(text)]


@pytest.mark.parametrize("flags", [0, re.IGNORECASE])
@pytest.mark.parametrize(
    "source",
    [
        r"[a-z]",
        "k",
        "[^k]",
        "[i-j]",
        "s",
        r"\u0130",
        r"\u0131",
        r"\w",
        r"\W",
        r"\d",
        r"\D",
        r"\s",
        r"\S",
        r"[\w.]",
        r"[^\w\s]",
        r"[\d\W]",
        "[^a]",
        ".",
        "ß",
        "σ",
        "[µ]",
        "[à-ÿ]",
        r"[\-\]\^\\]",
        "(?i:k)",
        "(?i:[A-Z])",
        r"[\u0301\u20dd]",
        r"[\U00010400-\U00010427]",
        r"[\x00-\x1f]",
        r"[\s\S]",
        r"[^\n]",
    ],
)
def test_classes_cover_the_same_code_points(source, flags):
    original = re.compile(f"(?:{source})+", flags)
    assert [found.span() for found in portable(original).finditer(EVERY)] == [
        found.span() for found in original.finditer(EVERY)
    ]


def test_a_class_without_any_member_is_refused():
    with refused("unsupported_model", "without any member"):
        portable(re.compile(r"[^\s\S]|x"))


def test_syntax_that_differs_between_engines_is_replaced():
    written = join(parse_alternatives(re.compile(r"(?i)k\w\d\s.[^x]$")))
    assert not re.search(r"\\[wdsWDSbB]|\(\?[a-zA-Z]|(?<!\\)\.", written)
    assert "\u212a" in written  # the Kelvin sign, which `k` matches if the case is ignored


PIECES = st.sampled_from(
    [
        "a",
        "B",
        "k",
        "s",
        "İ",
        "ı",
        "ß",
        "σ",
        "\u0301",
        "😀",
        r"\.",
        r"\-",
        r"\$",
        "'",
        "_",
        r"\w",
        r"\W",
        r"\d",
        r"\s",
        r"\S",
        ".",
        "[a-c]",
        "[^a]",
        "[\\w']",
        "[^\\s.]",
        "[0-9٣]",
        "[K-S]",
        "[$^]",
        "\\u212a",
        "(?=a)",
        "(?!k)",
        "(?<=s)",
        "(?<![ab])",
        "(?<=ab)",
        "^",
    ]
)
GROUPS = st.sampled_from(["(?:%s)", "(%s)", "(?i:%s)", "(?P<name>%s)", "(?=%s)", "(?!%s)"])
REPEATS = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}?", "*?", "+?", "??"])


def repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(GROUPS, inner, REPEATS).map(lambda made: made[0] % made[1] + made[2])


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=1, max_size=3).map("".join)


BRANCHES = st.lists(joined(PIECES), min_size=1, max_size=3).map("|".join)
SOURCES = st.lists(joined(st.one_of(PIECES, repeated(BRANCHES))), min_size=1, max_size=3).map("|".join)
STRINGS = st.lists(st.text(alphabet=ODD + "abk$^", max_size=8), min_size=1, max_size=6)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SOURCES, st.sampled_from([0, re.IGNORECASE]), STRINGS)
def test_random_patterns(source, flags, strings):
    try:
        original = re.compile(source, flags)
        found = portable(original)
    except re.error:
        return  # the random source is invalid, because two of its groups have the same name
    except ValueError as error:
        assert "can be repeated" in str(error)  # the format has no repeated assertions, and the export refuses them
        return
    for text in strings:
        assert spans(found, text) == spans(original, text)


@settings(max_examples=60, deadline=None)
@given(SOURCES, STRINGS)
def test_reach_and_first_characters_are_true(source, strings):
    """No match is longer than the `reach` of its alternative, or begins with a character that is not in its `first`."""
    try:
        alternatives = [(each, compile_pattern(each.text)) for each in parse_alternatives(re.compile(source))]
    except re.error:
        return
    except ValueError as error:
        assert "can be repeated" in str(error)
        return
    for each, pattern in alternatives:
        for text in strings:
            found = pattern.match(text)
            if found and each.reach is not None:
                assert found.end() <= each.reach
            if found and each.first is not None:
                index = ord(text[0])
                assert any(low <= index < high for low, high in zip(each.first[::2], each.first[1::2], strict=True))


def test_adjacent_ranges_are_joined():
    assert ranges_of([]) == ()
    assert ranges_of([1, 2, 3, 7, 9, 10]) == (1, 4, 7, 8, 9, 11)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_affixes_infixes_and_matches(language):
    tokenizer, rules = empty_pipeline(language).tokenizer, rules_of(language)
    for chunk in odd_chunks(language):
        expected = (
            tokenizer.find_prefix(chunk),
            tokenizer.find_suffix(chunk),
            infixes(tokenizer, chunk),
            bool(tokenizer.token_match and tokenizer.token_match(chunk)),
            bool(tokenizer.url_match and tokenizer.url_match(chunk)),
        )
        assert found_in(rules, chunk) == expected, chunk


def infixes(tokenizer: Tokenizer, chunk: str) -> list[tuple[int, int]]:
    return [found.span() for found in tokenizer.infix_finditer(chunk)] if tokenizer.infix_finditer else []


def found_in(rules: Rules, chunk: str) -> tuple[Any, ...]:
    """Return the affixes, infixes and matches of a string, computed from an artifact's rules as FORMAT.md defines."""
    prefix = next((found.end() for each in rules.prefix if (found := each.pattern.match(chunk[: each.window]))), 0)
    suffix = 0
    for each in rules.suffix:
        tail = chunk if each.window is None else chunk[-each.window :]
        if found := each.pattern.search(tail):
            assert found.end() == len(tail)
            suffix = max(suffix, found.end() - found.start())
    infix = [found.span() for found in rules.infix.finditer(chunk)] if rules.infix else []
    return prefix, suffix, infix, matches(rules.token_match, chunk), matches(rules.url_match, chunk)


COMPILED: dict[str, re.Pattern[str]] = {}


def matches(entries: Any, chunk: str) -> bool:
    sources = [each.source for each in entries if each.first is None or chunk[0] in each.first]
    return any(COMPILED.setdefault(source, re.compile(source)).match(chunk) for source in sources)


def test_french_words_with_hyphens():
    """The largest pattern of all languages is a list of French words with hyphens, with one alternative per word."""
    rules = rules_of("fr")
    assert len(rules.token_match) > 1
    for word, is_one in (("arc-en-ciel", True), ("Aix-en-Provence", True), ("zzz-zzz", False)):
        assert matches(rules.token_match, word) == bool(empty_pipeline("fr").tokenizer.token_match(word)) == is_one
