"""A spaCy tokenizer's rules and a vocabulary's tables as plain data (FORMAT.md, "spaCy: text to tokens")."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable
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
from .patterns import Alternative, join, parse_alternatives, ranges_of

_VERSION = 1
# The methods of a compiled pattern that spaCy's tokenizer calls
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
    """Why the tokenizer cannot be written down as data; empty when it can."""
    if type(nlp.tokenizer) is not Tokenizer:
        name = f"{type(nlp.tokenizer).__module__}.{type(nlp.tokenizer).__name__}"
        return [f"the tokenizer {name}, which is not driven by rules (Chinese, Japanese, Korean, Thai, Vietnamese)"]
    problems = [f"a {name} that is no method of a compiled pattern" for name in _METHODS if not _is_plain(nlp, name)]
    getters = nlp.vocab.lex_attr_getters
    problems += [
        f"a lexical attribute {nlp.vocab.strings[attribute]} computed in a way of its own"
        for attribute, expected in _GETTERS.items()
        if getters[attribute] is not expected
    ]
    if _norm_tables(nlp) is None:
        problems.append("a NORM computed in a way of its own (Hindi, Nepali, Haitian Creole)")
    return problems


def describe_rules(nlp: Language) -> dict[str, Any]:
    """The content of spacy_tokenizer.json.

    :raises BuildError: with the code `unsupported_model` for a rule that cannot be written down.
    """
    tokenizer = nlp.tokenizer
    infix = _pattern(nlp, "infix_finditer")
    return {
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


def norm_tables(nlp: Language) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """`norm.keys` and `norm.values`, uint64 `[n]`, keys ascending: the norms that strings have by table."""
    norms: dict[int, int] = {}
    for table in reversed(_norm_tables(nlp) or []):  # the first one that has a string decides
        norms |= {get_string_id(key): get_string_id(value) for key, value in table.items()}
    keys = sorted(norms)
    return np.array(keys, np.uint64), np.array([norms[key] for key in keys], np.uint64)


def _is_plain(nlp: Language, name: str) -> bool:
    method = getattr(nlp.tokenizer, name)
    owner = getattr(method, "__self__", None)
    return method is None or (isinstance(owner, re.Pattern) and method == getattr(owner, _METHODS[name]))


def _pattern(nlp: Language, name: str) -> re.Pattern[str] | None:
    method = getattr(nlp.tokenizer, name)
    return None if method is None else method.__self__


def _affixes(pattern: re.Pattern[str] | None, kind: str) -> list[dict[str, Any]]:
    """Alternatives of a prefix or suffix rule, neighbours of bounded reach together."""
    alternatives = [] if pattern is None else parse_alternatives(pattern)
    is_prefix = kind == "prefix"
    if not all(each.is_anchored_at_start if is_prefix else each.is_anchored_at_end for each in alternatives):
        raise BuildError(
            "unsupported_model",
            f"a {kind} rule matches in the middle of a string",
            expected=f"every alternative {'begins with ^' if is_prefix else 'ends with $'}",
        )
    return [_affix_group(list(group)) for _, group in groupby(alternatives, lambda each: each.reach is None)]


def _affix_group(alternatives: list[Alternative]) -> dict[str, Any]:
    reaches = [each.reach for each in alternatives if each.reach is not None]
    return {"pattern": join(alternatives), "window": max(reaches) if reaches else None}


def _matches(pattern: re.Pattern[str] | None) -> list[dict[str, Any]]:
    """Alternatives of a pattern that is only asked whether it matches, so that each may be tried alone."""
    alternatives: list[Alternative] = [] if pattern is None else parse_alternatives(pattern)
    return [{"pattern": each.text, "first": None if each.first is None else list(each.first)} for each in alternatives]


def _special(nlp: Language, tokens: Iterable[dict[Any, Any]]) -> list[list[str | None]]:
    strings = nlp.vocab.strings
    found = []
    for token in tokens:
        attributes = intify_attrs(token, strings_map=strings)
        text, norm = attributes[ORTH], attributes.get(NORM)
        found.append([_string(nlp, text), None if norm is None else _string(nlp, norm)])
    return found


def _string(nlp: Language, value: int | str) -> str:
    return value if isinstance(value, str) else str(nlp.vocab.strings[value])


def _sequences(tokenizer: Tokenizer) -> list[list[str]]:
    """The special cases that are looked for among tokens: those that the affix rules or blanks would take apart."""
    plain = Tokenizer(
        tokenizer.vocab,
        rules={},
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        token_match=tokenizer.token_match,
        url_match=tokenizer.url_match,
    )
    taken_apart = [
        chunk
        for chunk in sorted(tokenizer.rules)
        if not tokenizer.faster_heuristics
        or tokenizer.find_prefix(chunk)
        or tokenizer.find_infix(chunk)
        or tokenizer.find_suffix(chunk)
        or " " in chunk
    ]
    return [[token.text for token in plain(chunk)] for chunk in taken_apart]


def _norm_tables(nlp: Language) -> list[dict[str, str]] | None:
    """The tables a NORM is looked up in, first to last, before the string's lower case; None for other getters."""
    getter: Any = nlp.vocab.lex_attr_getters[NORM]
    tables: list[dict[str, str]] = []
    while isinstance(getter, functools.partial) and getter.func.__name__ == "_get_attr_unless_lookup":
        tables += getter.args[1]
        getter = getter.args[0]
    return tables if getter is lex_attrs.lower else None


@functools.cache
def _characters() -> dict[str, Any]:
    """What this interpreter's Unicode says of characters, so that no other version decides."""
    return {
        "space": _having(str.isspace),
        "alpha": _having(str.isalpha),
        "upper": _having(str.isupper),
        "digit": _having(str.isdigit),
        "cased": _having(_is_cased),
        "case_ignorable": _having(_is_case_ignorable),
        "lower": {chr(point): chr(point).lower() for point in _points() if chr(point).lower() != chr(point)},
    }


def _points() -> Iterable[int]:
    return (point for point in range(_LAST_CHARACTER + 1) if not 0xD800 <= point < 0xE000)


def _having(is_member: Callable[[str], bool]) -> list[int]:
    return list(ranges_of(point for point in _points() if is_member(chr(point))))


def _is_cased(letter: str) -> bool:
    """Whether a capital sigma after the letter becomes a final one, which shows what `lower` takes as cased."""
    return not _is_case_ignorable(letter) and f"{letter}Σ".lower().endswith("ς")


def _is_case_ignorable(letter: str) -> bool:
    """Whether `lower` looks past the letter for a cased one."""
    return f"a{letter}Σ".lower().endswith("ς") and not f"{letter}Σ".lower().endswith("ς")
