"""Checks the patterns of spacy_tokenizer.json and their limits without expanding them (FORMAT.md, "Patterns")."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MAX_DEPTH = 50
MAX_REPEATS = 1000
MAX_SIZE = 20_000
# Limits on all patterns of one file together
MAX_TOTAL_SIZE = 500_000
MAX_CLASSES = 10_000

_SHOWN = 40
# One character, written as an escape
_ESCAPE = rf"\\(?:[nrtfv{re.escape(string.punctuation)}]|x[0-9a-fA-F]{{2}}|u[0-9a-fA-F]{{4}}|U[0-9a-fA-F]{{8}})"
_TOKEN = re.compile(
    rf"""(?P<text>[^.*+?{{()|\[\\^$]+)
    |(?P<escape>{_ESCAPE})
    |(?P<members>\[(?:\\.|[^\]\\])*\])
    |(?P<open>\((?:\?(?::|<?[=!]))?)
    |(?P<close>\))
    |(?P<bar>\|)
    |(?P<assertion>[\^$])
    |(?P<repeat>(?:[*+?]|\{{(?P<min>[0-9]{{1,4}})(?P<comma>,(?P<max>[0-9]{{0,4}}))?\}})\??(?![*+?{{]))""",
    re.DOTALL | re.VERBOSE,
)
_MEMBER = re.compile(rf"{_ESCAPE}|[^\[\]\\]", re.DOTALL)
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B}
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True)
class _Part:
    """A part of a pattern: its size, and the number of characters of every match (None if it varies)."""

    size: int
    width: int | None
    is_assertion: bool = False


_CHARACTER = _Part(1, 1)
_ASSERTION = _Part(1, 0, is_assertion=True)


@dataclass
class _Group:
    """An open group: how it began, its complete alternatives, and the parts of its current alternative."""

    opening: str = "("
    alternatives: list[_Part] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)

    def end_alternative(self) -> None:
        self.alternatives.append(_concatenated(self.parts))
        self.parts = []

    def end(self) -> _Part:
        self.end_alternative()
        inner = _alternated(self.alternatives)
        if self.opening in ("(", "(?:"):
            return inner
        if "<" in self.opening and inner.width is None:
            raise ValueError("a lookbehind has no fixed width")
        return _Part(inner.size + 2, 0, is_assertion=True)


class PatternChecker:
    """Checks the patterns of one file. The limits `MAX_TOTAL_SIZE` and `MAX_CLASSES` hold for all of them together."""

    def __init__(self) -> None:
        """Start without any patterns."""
        self._size = 0
        self._classes = 0
        self._checked_classes: set[str] = set()

    def python_source(self, pattern: str) -> str:
        r"""Check a pattern and return it in the syntax of Python's `re`, where `$` is written `\Z`.

        :raises ValueError: if the pattern has other syntax than FORMAT.md allows, or exceeds a limit.
        """
        try:
            tokens = list(_tokens(pattern))
            self._size += _size(tokens)
            self._check_classes(token[0] for token in tokens if token.lastgroup == "members")
        except ValueError as error:
            raise ValueError(f"the pattern that begins with {pattern[:_SHOWN]!r} is refused: {error}") from error
        return "".join(r"\Z" if token[0] == "$" else token[0] for token in tokens)

    @staticmethod
    def looks_back(pattern: str) -> bool:
        """Return whether a valid pattern has a lookbehind or `^`."""
        return any(token[0] == "^" or token["open"] in ("(?<=", "(?<!") for token in _tokens(pattern))

    @staticmethod
    def consumed_source(pattern: str) -> str | None:
        """Return a pattern of `re` for one character: all characters of any match of a valid pattern match it.

        None for a pattern with lookarounds or `^`, whose matches depend on other characters too.
        """
        tokens = list(_tokens(pattern))
        if any(token[0] == "^" or token["open"] in ("(?=", "(?!", "(?<=", "(?<!") for token in tokens):
            return None
        texts = [re.escape(each) for token in tokens for each in token["text"] or ""]
        sets = [token[0] for token in tokens if token.lastgroup in ("escape", "members")]
        return "|".join(dict.fromkeys([*texts, *sets])) or "(?!)"

    def _check_classes(self, classes: Iterable[str]) -> None:
        for text in classes:
            self._classes += 1
            if text not in self._checked_classes:
                _check_class(text)
                self._checked_classes.add(text)
        if self._size > MAX_TOTAL_SIZE:
            raise ValueError(f"the size of the patterns up to it is {self._size}, expected at most {MAX_TOTAL_SIZE}")
        if self._classes > MAX_CLASSES:
            raise ValueError(f"the patterns up to it have more than {MAX_CLASSES} character classes")


def _tokens(pattern: str) -> Iterable[re.Match[str]]:
    offset = 0
    while offset < len(pattern):
        token = _TOKEN.match(pattern, offset)
        if token is None:
            raise ValueError(f"unexpected {pattern[offset]!r} at character {offset}")
        if token.lastgroup == "escape":
            _code(token[0])
        yield token
        offset = token.end()


def _size(tokens: Iterable[re.Match[str]]) -> int:
    """Return the size of a pattern, counted without expanding its repetitions.

    :raises ValueError: if the size exceeds `MAX_SIZE`, or if the groups and repetitions are invalid.
    """
    groups = [_Group()]
    for token in tokens:
        _add(token, groups)
    if len(groups) > 1:
        raise ValueError("a group does not end")
    size = groups[0].end().size
    if size > MAX_SIZE:
        raise ValueError(f"its size is more than {MAX_SIZE}")
    return size


def _add(token: re.Match[str], groups: list[_Group]) -> None:
    """Add a token to the innermost of the open groups."""
    kind, parts = token.lastgroup, groups[-1].parts
    if kind == "open":
        groups.append(_Group(token[0]))
        if len(groups) > MAX_DEPTH + 1:
            raise ValueError(f"groups are nested deeper than {MAX_DEPTH}")
    elif kind == "close":
        if len(groups) == 1:
            raise ValueError(f"unexpected ')' at character {token.start()}")
        group = groups.pop()
        groups[-1].parts.append(group.end())
    elif kind == "bar":
        groups[-1].end_alternative()
    elif kind == "repeat":
        if not parts or parts[-1].is_assertion:
            raise ValueError(f"nothing that can be repeated before character {token.start()}")
        parts[-1] = _repeated(parts[-1], *_bounds(token))
    elif kind == "assertion":
        parts.append(_ASSERTION)
    else:
        # A repetition after several literal characters repeats the last one.
        others = len(token[0]) - 1 if kind == "text" else 0
        parts += [_Part(others, others), _CHARACTER] if others else [_CHARACTER]


def _bounds(token: re.Match[str]) -> tuple[int, int | None]:
    """Return the minimum and the maximum of a repetition; None means no maximum."""
    if token["min"] is None:
        return _BOUNDS[token[0][0]]
    minimum = int(token["min"])
    maximum = minimum if token["comma"] is None else int(token["max"]) if token["max"] else None
    if maximum is not None and maximum < minimum:
        raise ValueError(f"a repetition with the bounds {token[0]}")
    if max(minimum, maximum or 0) > MAX_REPEATS:
        raise ValueError(f"a repetition of more than {MAX_REPEATS}: {token[0]}")
    return minimum, maximum


def _repeated(part: _Part, minimum: int, maximum: int | None) -> _Part:
    times = minimum + 1 if maximum is None else maximum
    width = part.width * minimum if part.width is not None and minimum == maximum else None
    return _Part(times * (part.size + 2), width)


def _concatenated(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    widths = [part.width for part in parts if part.width is not None]
    return _Part(sum(part.size for part in parts), sum(widths) if len(widths) == len(parts) else None)


def _alternated(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    widths = {part.width for part in parts}
    size = sum(part.size for part in parts) + 2 * (len(parts) - 1)
    return _Part(size, widths.pop() if len(widths) == 1 else None)


def _check_class(text: str) -> None:
    """Raise `ValueError` unless a character class is valid; `text` includes its brackets."""
    inner = text[1:-1].removeprefix("^")
    members = _MEMBER.findall(inner)
    if not members or "".join(members) != inner:
        raise ValueError("a character class is empty, or has an escape or a '[' that is not allowed in it")
    if any(pair in (("&", "&"), ("~", "~")) for pair in itertools.pairwise(members)):
        raise ValueError("'&&' or '~~' in a character class needs a backslash")
    codes = [_code(member) for member in members]
    index = 0
    while index < len(members):
        is_range = members[index + 1 : index + 2] == ["-"] and index + 2 < len(members)
        if is_range:
            if "-" in (members[index], members[index + 2]):
                raise ValueError("'-' next to '-' in a character class needs a backslash")
            if codes[index + 2] < codes[index]:
                raise ValueError("a range of a character class is empty")
        index += 3 if is_range else 1


def _code(character: str) -> int:
    """Return the code point of a character or of an escape."""
    if len(character) == 1:
        return ord(character)
    if character[1] not in "xuU":
        return _CONTROLS.get(character[1], ord(character[1]))
    code = int(character[2:], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"{character} is not a character")
    return code
