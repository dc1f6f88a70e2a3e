"""The limits of patterns, and which patterns of `re` have the same meaning in the format."""

from __future__ import annotations

import re

import pytest
from onnx_ml_bridge.artifacts.spacy_patterns import MAX_CLASSES, MAX_SIZE, MAX_TOTAL_SIZE, PatternChecker


def is_refused(pattern: str) -> bool:
    try:
        PatternChecker().python_source(pattern)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ("a{1000}", "a{1001}"),
        ("a{0,1000}", "a{0,1001}"),
        ("(?:a{1000}){6}", "(?:a{1000}){7}"),
        ("(?:){10}", "(?:(?:){1000}){1000}"),
        ("a" * MAX_SIZE, "a" * (MAX_SIZE + 1)),
        ("ab|" * 4999 + "ab", "ab|" * 5000 + "ab"),
        ("[a]" * MAX_CLASSES, "[a]" * (MAX_CLASSES + 1)),
        ("(?:" * 50 + "a" + ")" * 50, "(" * 51 + "a" + ")" * 51),
        ("(?:a+)+", "(?:" * 50 + "a" + "){1000}" * 50),
    ],
)
def test_patterns_are_limited(within, beyond):
    assert not is_refused(within) and is_refused(beyond)


def test_the_patterns_of_a_file_are_limited_together():
    checker = PatternChecker()
    for _ in range(MAX_TOTAL_SIZE // MAX_SIZE):
        checker.python_source("a" * MAX_SIZE)
    with pytest.raises(ValueError, match="500001"):
        checker.python_source("a")


# The Rust tests have the same patterns.
@pytest.mark.parametrize(
    "pattern",
    [
        *("a.", "\\w", "\\d", "\\b", "\\1", "(?i)a", "(?P<x>a)", "(?>a)", "a++", "a**", "a*+", "a???"),
        *("(", ")", "a)", "(a", "[", "[a", "[]", "[^]", "[[a]]", "[a&&b]", "[a~~b]", "[a--b]", "[!--]", "[z-a]"),
        *("a{", "a{,2}", "a{2,1}", "a{x}", "{2}", "*a", "^*", "(?:$)*", "(?=a)+", "(?<=a+)b", "(?<=a|bc)d"),
        *("\\", "\\u12", "\\ud800", "\\Uffffffff", "\\p{L}", "[\\w]", "[\\ud800]", "a{00001}"),
    ],
)
def test_other_syntax_is_refused(pattern):
    assert is_refused(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "spans"),
    [
        ("^a|b$", "aab\n", [(0, 1)]),
        ("[$]|\\$$", "$a$", [(0, 1), (2, 3)]),
        ("[a\\-z]+", "a-zb", [(0, 3)]),
        ("[-a]+|}]", "a-zb}]", [(0, 2), (4, 6)]),
        ("(?:a|b|)+?c{2,}", "abccc", [(0, 5)]),
        ("(?<=a(?:b|c))d", "abd acd add", [(2, 3), (6, 7)]),
        ("\\u00e9|\\U0001f600|\\x41|\\n", "Aé😀\n", [(0, 1), (1, 2), (2, 3), (3, 4)]),
    ],
)
def test_a_pattern_matches_as_in_the_format(pattern, text, spans):
    compiled = re.compile(PatternChecker().python_source(pattern))
    assert [match.span() for match in compiled.finditer(text)] == spans


def test_nested_alternatives_in_a_lookbehind_are_checked_once():
    nested = "(?:" * 49 + "a" + "|b)" * 49
    assert not is_refused(f"(?<={nested})b")
