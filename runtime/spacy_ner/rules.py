"""Read spacy_tokenizer.json, the tokenizer rules of a spaCy pipeline, and check every part of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...artifacts import strict_json
from ...artifacts.errors import ArtifactError
from ...artifacts.reading import reading_errors
from ...artifacts.spacy_patterns import PatternChecker
from .characters import Characters, CharacterSet

_VERSION = 1
_KEYS = frozenset(
    {
        "characters",
        "infix",
        "prefix",
        "sequences",
        "specials",
        "suffix",
        "symbols",
        "token_match",
        "unicode",
        "url_match",
        "version",
    }
)
_SETS = ("space", "alpha", "upper", "digit", "cased", "case_ignorable")
# The number of code points of Unicode, which is one more than the last code point.
_MAX_BOUND = 0x110000

# A token of a special case: its text, and its norm if the special case sets one.
SpecialToken = tuple[str, str | None]


@dataclass(frozen=True)
class Affix:
    """Alternatives of the prefix or suffix rule that match at most `window` characters; None means no limit.

    All characters of a match without limit match `consumed`; None if such a match depends on other characters too.
    """

    pattern: re.Pattern[str]
    window: int | None
    consumed: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Match:
    """A pattern of `token_match` or `url_match`, checked, in the syntax of `re`; it is compiled later.

    `is_local` is true if a match depends on no characters before it.

    `first` holds the characters with which a match can begin; None if they are not known.
    """

    source: str
    first: CharacterSet | None
    is_local: bool


@dataclass(frozen=True)
class Rules:
    """The content of spacy_tokenizer.json; FORMAT.md, "spaCy: text to tokens", describes the fields."""

    prefix: tuple[Affix, ...]
    suffix: tuple[Affix, ...]
    infix: re.Pattern[str] | None
    token_match: tuple[Match, ...]
    url_match: tuple[Match, ...]
    specials: Mapping[str, tuple[SpecialToken, ...]]
    sequences: tuple[tuple[str, ...], ...]
    symbols: Mapping[str, int]
    characters: Characters


@reading_errors()
def read_rules(path: Path) -> Rules:
    """Read the file spacy_tokenizer.json of an artifact and check its content.

    :raises ArtifactError: with the code `tokenizer` if the file breaks a rule of FORMAT.md, `io` if it cannot be read.
    """
    try:
        data = strict_json.parse(path.read_bytes(), path.name)
        if not isinstance(data, dict) or set(data) != _KEYS or _integer(data["version"]) != _VERSION:
            raise ValueError(f"the keys or the version are not those of version {_VERSION}")
        if not _string(data["unicode"]):
            raise ValueError("unicode is empty, expected the version of Unicode")
        return _rules(data)
    except (ArtifactError, ValueError, TypeError, KeyError, re.error) as error:
        raise ArtifactError(
            "tokenizer", f"{path.name} cannot be read: {error!r}", hint="Build the artifact again."
        ) from error


def compile_pattern(source: str) -> re.Pattern[str]:
    """Check one pattern and compile it as FORMAT.md defines it.

    :raises ValueError: if it is invalid or exceeds a limit.
    """
    return re.compile(PatternChecker().python_source(source))


def _rules(data: dict[str, Any]) -> Rules:
    specials = {chunk: tuple(_special(token) for token in _list(tokens)) for chunk, tokens in _items(data["specials"])}
    if wrong := [
        chunk for chunk, tokens in specials.items() if "".join(text for text, _ in tokens) != chunk or not chunk
    ]:
        raise ValueError(f"special cases whose tokens, joined, are not the chunk: {wrong[:3]}")
    patterns = _patterns(data)
    return Rules(
        prefix=tuple(_affix(entry, patterns) for entry in _list(data["prefix"])),
        suffix=tuple(_affix(entry, patterns) for entry in _list(data["suffix"])),
        infix=None if data["infix"] is None else re.compile(patterns[data["infix"]]),
        token_match=tuple(_match(entry, patterns) for entry in _list(data["token_match"])),
        url_match=tuple(_match(entry, patterns) for entry in _list(data["url_match"])),
        specials=specials,
        sequences=tuple(_sequence(entry) for entry in _list(data["sequences"])),
        symbols={name: _natural(number) for name, number in _items(data["symbols"])},
        characters=_characters(data["characters"]),
    )


def _patterns(data: dict[str, Any]) -> dict[str, str]:
    """Return every pattern of the file in the syntax of `re`. All of them are checked before any is compiled."""
    checker = PatternChecker()
    lists = [_list(data[name]) for name in ("prefix", "suffix", "token_match", "url_match")]
    sources = [entry["pattern"] for entry in itertools.chain(*lists)]
    sources += [] if data["infix"] is None else [data["infix"]]
    return {source: checker.python_source(_string(source)) for source in sources}


def _characters(data: dict[str, Any]) -> Characters:
    if set(data) != {*_SETS, "lower"}:
        raise ValueError(f"characters has the keys {sorted(data)}, expected {sorted((*_SETS, 'lower'))}")
    lower = {key: _string(value) for key, value in _items(data["lower"])}
    if any(len(key) != 1 for key in lower):
        raise ValueError("lower has a key that is not a single character")
    return Characters(**{name: _set(data[name]) for name in _SETS}, lower=lower)


def _affix(entry: dict[str, Any], patterns: Mapping[str, str]) -> Affix:
    pattern, window = _fields(entry, "pattern", "window")
    if window is not None and _integer(window) < 1:
        raise ValueError(f"a window is {window}, expected at least 1 character")
    # `^` of a prefix holds wherever the rest of a chunk starts.
    consumed = PatternChecker.consumed_source(pattern.removeprefix("^")) if window is None else None
    return Affix(re.compile(patterns[pattern]), window, None if consumed is None else re.compile(consumed))


def _match(entry: dict[str, Any], patterns: Mapping[str, str]) -> Match:
    first, pattern = _fields(entry, "first", "pattern")
    # A match starts at the start of the text, where `^` always holds.
    is_local = not PatternChecker.looks_back(pattern.removeprefix("^"))
    return Match(patterns[pattern].removeprefix("^"), None if first is None else _set(first), is_local)


def _fields(entry: dict[str, Any], *names: str) -> list[Any]:
    if set(entry) != set(names):
        raise ValueError(f"an entry has the keys {sorted(entry)}, expected {sorted(names)}")
    return [entry[name] for name in names]


def _special(token: list[Any]) -> SpecialToken:
    text, norm = _list(token)
    if not _string(text):
        raise ValueError("a special case has an empty token")
    return text, None if norm is None else _string(norm)


def _sequence(entry: list[Any]) -> tuple[str, ...]:
    texts = tuple(_string(text) for text in _list(entry))
    if not texts or not all(texts):
        raise ValueError("a sequence is empty or has an empty token")
    return texts


def _set(bounds: list[Any]) -> CharacterSet:
    points = tuple(_integer(bound) for bound in _list(bounds))
    is_ascending = all(a < b for a, b in itertools.pairwise(points))
    if len(points) % 2 or not is_ascending or (points and not 0 <= points[0] <= points[-1] <= _MAX_BOUND):
        raise ValueError("a set of characters must be pairs of code points, ascending, from 0 to 0x110000")
    return CharacterSet(points)


def _list(value: Any) -> Iterable[Any]:
    if type(value) is not list:
        raise TypeError(f"expected a list, got a {type(value).__name__}")
    return value


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) is not dict:
        raise TypeError(f"expected an object, got a {type(value).__name__}")
    return value.items()


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected a string, got a {type(value).__name__}")
    return value


def _natural(value: Any) -> int:
    if _integer(value) < 0:
        raise ValueError(f"expected no negative number, got {value}")
    return int(value)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"expected an integer, got a {type(value).__name__}")
    return value
