"""Rewrites Python's regular expressions as portable patterns, which mean the same in every engine and Unicode version.

The rules of a spaCy tokenizer are patterns of Python's `re`. Its shorthand classes and IGNORECASE depend on the Unicode
version of the interpreter and differ from those of other engines. This module parses a pattern with the parser of `re`
and writes it with explicit classes. FORMAT.md lists the syntax of the result; other patterns are refused.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from re import _constants as sre  # type: ignore[attr-defined]  # there is no public API for parsed patterns
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

from ...artifacts.errors import BuildError

# An element of a pattern as the parser of `re` returns it: its operator and its argument.
Item = tuple[Any, Any]
_SURROGATES = (0xD800, 0xE000)
_SPECIAL = frozenset("\\.^$|?*+()[]{}-&~#")
_CASE = re.IGNORECASE
# The operators of those elements of a pattern that a quantifier can follow without a group around the element
_UNITS = frozenset({sre.ANY, sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.SUBPATTERN, sre.BRANCH})
_KNOWN_FLAGS = re.IGNORECASE | re.UNICODE


@dataclass(frozen=True)
class Alternative:
    """One of the top-level alternatives of a pattern.

    `reach` is the maximum number of characters that it can look at, including lookaround; None without a limit.
    `first` is the set of code points that a match can begin with, as ranges `(start, end, ...)`; None if unknown.
    """

    items: tuple[Item, ...]
    flags: int
    reach: int | None
    first: tuple[int, ...] | None

    @property
    def text(self) -> str:
        """The portable pattern of this alternative."""
        return _sequence(self.items, self.flags)

    @property
    def is_anchored_at_start(self) -> bool:
        """Whether every match of the alternative begins at the start of the string."""
        return bool(self.items) and self.items[0] == (sre.AT, sre.AT_BEGINNING)

    @property
    def is_anchored_at_end(self) -> bool:
        """Whether every match of the alternative ends at the end of the string."""
        return bool(self.items) and self.items[-1] == (sre.AT, sre.AT_END)


def parse_alternatives(pattern: re.Pattern[str]) -> list[Alternative]:
    """Return the top-level alternatives of a compiled pattern, in their order.

    :raises BuildError: with the code `unsupported_model` for a pattern without a portable equivalent.
    """
    if pattern.flags & ~_KNOWN_FLAGS:
        raise _unsupported(f"the flags {re.RegexFlag(pattern.flags & ~_KNOWN_FLAGS)!r}")
    parsed = sre_parser.parse(pattern.pattern, pattern.flags)
    flags = pattern.flags & _CASE
    return [Alternative(items, flags, _reach(items), _first(items, flags)) for items in _split(tuple(parsed))]


def join(alternatives: Iterable[Alternative]) -> str:
    """Join alternatives with `|` to one portable pattern, in their order."""
    return "|".join(alternative.text for alternative in alternatives)


def ranges_of(points: Iterable[int]) -> tuple[int, ...]:
    """Convert ascending code points to ranges `(start, end, start, end, ...)` with exclusive ends."""
    flat: list[int] = []
    for point in points:
        if flat and flat[-1] == point:
            flat[-1] = point + 1
        else:
            flat += [point, point + 1]
    return tuple(flat)


def _split(items: tuple[Item, ...]) -> list[tuple[Item, ...]]:
    """Split a parsed pattern of the form `a|b|c` into its alternatives; any other pattern is the only alternative.

    `re` parses `^a|^b` as `^(?:a|b)`. Each alternative of such a pattern gets the anchor `^` again.
    """
    if not items or items[-1][0] is not sre.BRANCH or any(op is not sre.AT for op, _ in items[:-1]):
        return [items]
    return [each for branch in items[-1][1][1] for each in _split(items[:-1] + tuple(branch))]


def _reach(items: Sequence[Item]) -> int | None:
    reaches = [_item_reach(op, argument) for op, argument in items]
    return None if None in reaches else sum(reach for reach in reaches if reach is not None)


def _item_reach(op: Any, argument: Any) -> int | None:
    if op is sre.AT:
        return 0
    if op is sre.BRANCH:
        reaches = [_reach(tuple(branch)) for branch in argument[1]]
        return None if None in reaches else max(reach for reach in reaches if reach is not None)
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return _reach(tuple(argument[1]))
    if op is sre.SUBPATTERN:
        return _reach(tuple(argument[3]))
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        _, max_count, inner = argument
        reach = _reach(tuple(inner))
        return None if reach is None or max_count is sre.MAXREPEAT else max_count * reach
    return 1


def _first(items: Sequence[Item], flags: int) -> tuple[int, ...] | None:
    """Return the code points that a match can begin with; None if they are not known.

    They are known if the first element of the pattern that is not zero-width is a literal or a character class.
    """
    for op, argument in items:
        if op is sre.AT:
            continue
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and argument[0] > 0:
            return _first(tuple(argument[2]), flags)
        return _class(op, argument, flags) if op in (sre.LITERAL, sre.IN) else None
    return None


def _sequence(items: Iterable[Item], flags: int) -> str:
    return "".join(_item(op, argument, flags) for op, argument in items)


def _item(op: Any, argument: Any, flags: int) -> str:
    if op in (sre.ANY, sre.LITERAL, sre.NOT_LITERAL, sre.IN):
        return _set_text(_class(op, argument, flags))
    if op is sre.AT and argument in (sre.AT_BEGINNING, sre.AT_END):
        return "^" if argument is sre.AT_BEGINNING else "$"
    if op is sre.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, flags) for branch in argument[1])})"
    if op is sre.SUBPATTERN:
        _, added, removed, inner = argument
        return f"(?:{_sequence(inner, (flags | added) & ~removed & _CASE)})"
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        direction, inner = argument
        return f"(?{'<' if direction < 0 else ''}{'=' if op is sre.ASSERT else '!'}{_sequence(inner, flags)})"
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        min_count, max_count, inner = argument
        return _repeat(min_count, max_count, inner, flags) + ("?" if op is sre.MIN_REPEAT else "")
    raise _unsupported(f"the element {argument if op is sre.AT else op}")


def _repeat(min_count: int, max_count: Any, inner: Iterable[Item], flags: int) -> str:
    body = _sequence(inner, flags)
    items = tuple(inner)
    if len(items) != 1 or items[0][0] not in _UNITS:
        body = f"(?:{body})"
    limits = (min_count, None if max_count is sre.MAXREPEAT else max_count)
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(limits)
    return body + (short or f"{{{min_count},{'' if limits[1] is None else limits[1]}}}")


def _class(op: Any, argument: Any, flags: int) -> tuple[int, ...]:
    """Return the code points that a literal, a character class or `.` matches, as ranges."""
    if op is sre.ANY:  # never a newline: patterns with the flag DOTALL are refused
        op, argument = sre.NOT_LITERAL, ord("\n")
    items = tuple(argument) if op is sre.IN else ((sre.LITERAL, argument),)
    if op is sre.NOT_LITERAL:
        items = ((sre.NEGATE, None), *items)
    return _members(items, flags)


@functools.cache
def _members(items: tuple[Item, ...], flags: int) -> tuple[int, ...]:
    plain = all(op in (sre.LITERAL, sre.RANGE) for op, _ in items)
    if plain and not flags:
        points = {
            point for op, value in items for point in ([value] if op is sre.LITERAL else range(value[0], value[1] + 1))
        }
        return ranges_of(sorted(point for point in points if not _SURROGATES[0] <= point < _SURROGATES[1]))
    # For shorthand classes and IGNORECASE, the ranges are the characters that `re` itself matches, as in spaCy
    matches = re.compile(f"[{''.join(_source(op, value) for op, value in items)}]", flags).findall(_every_character())
    return ranges_of(map(ord, matches))


def _source(op: Any, value: Any) -> str:
    """Write a parsed member of a character class (a literal, a range, `^`, a shorthand class) in the syntax of `re`."""
    if op is sre.LITERAL:
        return f"\\U{value:08x}"
    if op is sre.RANGE:
        return f"\\U{value[0]:08x}-\\U{value[1]:08x}"
    if op is sre.NEGATE:
        return "^"
    if op is sre.CATEGORY and value in _CATEGORIES:
        return _CATEGORIES[value]
    raise _unsupported(f"the class member {op} {value}")


_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}


@functools.cache
def _every_character() -> str:
    return "".join(map(chr, [*range(_SURROGATES[0]), *range(_SURROGATES[1], sys.maxunicode + 1)]))


def _set_text(ranges: tuple[int, ...]) -> str:
    """Write code point ranges as a literal or as a character class, which is negated if that makes it smaller."""
    if len(ranges) == 2 and ranges[1] == ranges[0] + 1:
        return _character(ranges[0])
    if not ranges:
        raise _unsupported("a class without any member")
    outside = _complement(ranges)
    negated = bool(outside) and sum(outside[1::2]) - sum(outside[::2]) < sum(ranges[1::2]) - sum(ranges[::2])
    pairs = outside if negated else ranges
    members = []
    for start, end in zip(pairs[::2], pairs[1::2], strict=True):
        dash = "-" if end > start + 2 else ""
        members.append(_character(start) + (dash + _character(end - 1) if end > start + 1 else ""))
    return f"[{'^' if negated else ''}{''.join(members)}]"


def _complement(ranges: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ranges of all code points outside the given ranges, except surrogates, which never occur in texts."""
    bounds = [0, *ranges, sys.maxunicode + 1]
    pairs = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if a < b]
    return tuple(bound for pair in pairs if pair != _SURROGATES for bound in pair)


def _character(point: int) -> str:
    character = chr(point)
    if character in _SPECIAL:
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _unsupported(what: str) -> BuildError:
    return BuildError(
        "unsupported_model",
        f"a tokenizer rule uses {what}, which has no portable equivalent",
        hint="Rewrite the rule without it.",
    )
