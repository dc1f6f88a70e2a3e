"""Describes a spaCy tokenizer's rules and its vocabulary's norms as data (FORMAT.md, "spaCy: text to tokens")."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, NORM, ORTH, PREFIX, SHAPE, SUFFIX, intify_attrs
from spacy.lang import lex_attrs
from spacy.language import Language
from spacy.strings import get_string_id
from spacy.symbols import IDS
from spacy.tokenizer import Tokenizer

from ...artifacts.errors import BuildError
from ...artifacts.spacy_patterns import PatternChecker
from .patterns import Alternative, join, parse_alternatives, ranges_of

_VERSION = 1
# Attributes of spaCy's tokenizer whose value must be a method of a compiled pattern, with the name of this method
_METHODS = {
    "prefix_search": "search",
    "suffix_search": "search",
    "infix_finditer": "finditer",
    "token_match": "match",
    "url_match": "match",
}
_GETTERS = {
    PREFIX: lex_attrs.prefix,
    SUFFIX: lex_attrs.suffix,
    SHAPE: lex_attrs.word_shape,
    IS_SPACE: lex_attrs.is_space,
}
_LAST_CHARACTER = 0x10FFFF


def tokenizer_problems(nlp: Language) -> list[str]:
    """Return the reasons why the tokenizer cannot be described as data."""
    if type(nlp.tokenizer) is not Tokenizer:
        name = f"{type(nlp.tokenizer).__module__}.{type(nlp.tokenizer).__name__}"
        return [
            f"the tokenizer {name}, which does not work by rules (as for Chinese, Japanese, Korean, Thai, Vietnamese)"
        ]
    problems = [
        f"a {name} that is not the method {method} of a compiled pattern"
        for name, method in _METHODS.items()
        if not _is_pattern_method(nlp, name)
    ]
    getters = nlp.vocab.lex_attr_getters
    problems += [
        f"a custom function for the lexical attribute {nlp.vocab.strings[attribute]}"
        for attribute, expected in _GETTERS.items()
        if getters[attribute] is not expected
    ]
    if _norm_tables(nlp) is None:
        problems.append("a custom function for NORM (as for Hindi, Nepali, Haitian Creole)")
    return problems


def describe_rules(nlp: Language) -> dict[str, Any]:
    """Return the content of spacy_tokenizer.json.

    :raises BuildError: with the code `unsupported_model` for a rule without a portable equivalent, and for patterns
        that exceed a limit of the format.
    """
    tokenizer = nlp.tokenizer
    infix = _pattern(nlp, "infix_finditer")
    described = {
        "version": _VERSION,
        "unicode": unicodedata.unidata_version,
        "prefix": _affixes(_pattern(nlp, "prefix_search"), "prefix"),
        "suffix": _affixes(_pattern(nlp, "suffix_search"), "suffix"),
        "infix": join(parse_alternatives(infix)) if infix is not None else None,
        "token_match": _matches(_pattern(nlp, "token_match")),
        "url_match": _matches(_pattern(nlp, "url_match")),
        "specials": {chunk: _special(nlp, tokens) for chunk, tokens in tokenizer.rules.items()},
        "sequences": _sequences(tokenizer),
        "symbols": {name: number for name, number in IDS.items() if name},
        "characters": _characters(),
    }
    _check_patterns(described)
    return described


def _check_patterns(described: Mapping[str, Any]) -> None:
    """Raise `BuildError` with the name of the rule if readers of the format would refuse a pattern."""
    checker = PatternChecker()
    for name in ("prefix", "suffix", "infix", "token_match", "url_match"):
        rule = described[name]
        patterns = (
            [entry["pattern"] for entry in rule] if isinstance(rule, list) else [rule] if rule is not None else []
        )
        for pattern in patterns:
            try:
                checker.python_source(pattern)
            except ValueError as error:
                raise BuildError(
                    "unsupported_model", f"the tokenizer rule {name}: {error}", hint="Simplify the rule."
                ) from error


def norm_tables(nlp: Language) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return `norm.keys` and `norm.values`, uint64 `[n]`: the ascending ids of strings, and the ids of their norms."""
    norms: dict[int, int] = {}
    # The tables are read in reverse order, because entries of the first table override entries of later tables
    for table in reversed(_norm_tables(nlp) or []):
        norms |= {get_string_id(key): get_string_id(value) for key, value in table.items()}
    keys = sorted(norms)
    return np.array(keys, np.uint64), np.array([norms[key] for key in keys], np.uint64)


def _is_pattern_method(nlp: Language, name: str) -> bool:
    method = getattr(nlp.tokenizer, name)
    owner = getattr(method, "__self__", None)
    return method is None or (isinstance(owner, re.Pattern) and method == getattr(owner, _METHODS[name]))


def _pattern(nlp: Language, name: str) -> re.Pattern[str] | None:
    method = getattr(nlp.tokenizer, name)
    return None if method is None else method.__self__


def _affixes(pattern: re.Pattern[str] | None, kind: str) -> list[dict[str, Any]]:
    """Return the patterns of a prefix or suffix rule; adjacent alternatives of bounded reach are joined."""
    alternatives = [] if pattern is None else parse_alternatives(pattern)
    is_prefix = kind == "prefix"
    if not all(each.is_anchored_at_start if is_prefix else each.is_anchored_at_end for each in alternatives):
        raise BuildError(
            "unsupported_model",
            f"a {kind} rule that can match in the middle of a string",
            expected=f"alternatives that all {'begin with ^' if is_prefix else 'end with $'}",
        )
    return [_affix_group(list(group)) for _, group in groupby(alternatives, lambda each: each.reach is None)]


def _affix_group(alternatives: list[Alternative]) -> dict[str, Any]:
    reaches = [each.reach for each in alternatives if each.reach is not None]
    return {"pattern": join(alternatives), "window": max(reaches) if reaches else None}


def _matches(pattern: re.Pattern[str] | None) -> list[dict[str, Any]]:
    """Return each alternative of a pattern as a pattern of its own.

    This is possible because the tokenizer only needs to know whether any alternative matches.
    """
    alternatives: list[Alternative] = [] if pattern is None else parse_alternatives(pattern)
    return [{"pattern": each.text, "first": None if each.first is None else list(each.first)} for each in alternatives]


def _special(nlp: Language, tokens: Iterable[dict[Any, Any]]) -> list[list[str | None]]:
    """Return the text and the norm (or None) of each token of a special case."""
    described = []
    for token in tokens:
        attributes = intify_attrs(token, strings_map=nlp.vocab.strings)
        text, norm = attributes[ORTH], attributes.get(NORM)
        described.append([_string(nlp, text), None if norm is None else _string(nlp, norm)])
    return described


def _string(nlp: Language, value: int | str) -> str:
    return value if isinstance(value, str) else str(nlp.vocab.strings[value])


def _sequences(tokenizer: Tokenizer) -> list[list[str]]:
    """Return the token sequences into which the other rules split special cases that contain whitespace or affixes.

    The runtime applies the other rules first. It then replaces each of these sequences by the tokens of its special
    case.
    """
    without_specials = Tokenizer(
        tokenizer.vocab,
        rules={},
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        token_match=tokenizer.token_match,
        url_match=tokenizer.url_match,
    )
    split = [
        chunk
        for chunk in sorted(tokenizer.rules)
        if not tokenizer.faster_heuristics
        or tokenizer.find_prefix(chunk)
        or tokenizer.find_infix(chunk)
        or tokenizer.find_suffix(chunk)
        or " " in chunk
    ]
    return [[token.text for token in without_specials(chunk)] for chunk in split]


def _norm_tables(nlp: Language) -> list[dict[str, str]] | None:
    """Return the tables in which spaCy looks up the NORM of a word before it uses the word in lower case.

    The result is None if the vocabulary computes NORM with another function.
    """
    getter: Any = nlp.vocab.lex_attr_getters[NORM]
    tables: list[dict[str, str]] = []
    while isinstance(getter, functools.partial) and getter.func.__name__ == "_get_attr_unless_lookup":
        tables += getter.args[1]
        getter = getter.args[0]
    return tables if getter is lex_attrs.lower else None


@functools.cache
def _characters() -> dict[str, Any]:
    """Return the character tables of spacy_tokenizer.json, computed with the Unicode version of this interpreter."""
    return {
        "space": _ranges_with(str.isspace),
        "alpha": _ranges_with(str.isalpha),
        "upper": _ranges_with(str.isupper),
        "digit": _ranges_with(str.isdigit),
        "cased": _ranges_with(_is_cased),
        "case_ignorable": _ranges_with(_is_case_ignorable),
        "lower": {chr(point): chr(point).lower() for point in _points() if chr(point).lower() != chr(point)},
    }


def _points() -> Iterable[int]:
    return (point for point in range(_LAST_CHARACTER + 1) if not 0xD800 <= point < 0xE000)


def _ranges_with(has_property: Callable[[str], bool]) -> list[int]:
    return list(ranges_of(point for point in _points() if has_property(chr(point))))


def _is_cased(character: str) -> bool:
    """Return whether a character has the Unicode property Cased.

    Python has no function for it. At the end of a word, `str.lower` turns a capital sigma into ς only if a cased
    character precedes the sigma.
    """
    return not _is_case_ignorable(character) and f"{character}Σ".lower().endswith("ς")


def _is_case_ignorable(character: str) -> bool:
    """Return whether a character has the Unicode property Case_Ignorable.

    Python has no function for it. `str.lower` turns a capital sigma into ς if a cased letter precedes it, and skips
    case-ignorable characters between the two.
    """
    return f"a{character}Σ".lower().endswith("ς") and not f"{character}Σ".lower().endswith("ς")
