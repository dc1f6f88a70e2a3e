"""Mutations of JSON values, and texts of JSON that Python's own writer never writes."""

from __future__ import annotations

import copy
import json
import re
from random import Random
from typing import Any

from onnx_ml_bridge.artifacts.strict_json import canonical, canonical_line

_RAW = re.compile(r'"<raw (\d+)>"')
# Texts of JSON, valid and invalid, at the limits of what FORMAT.md allows
_TEXTS = (
    "NaN",
    "Infinity",
    "-0",
    "-0.0",
    "1.0",
    "1e0",
    "01",
    "+1",
    "1.",
    "1e400",
    "1e-400",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "9007199254740993.0",
    "18446744073709551616",
    "1" * 5000,
    "0." + "1" * 5000,
    "1e" + "9" * 500,
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"\t"',
    '"\\x"',
    "[" * 31 + "]" * 31,
    "[" * 40 + "]" * 40,
    "[" * 100_000,
    '{"a":1,"\\u0061":2}',
    "tru",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    1000,
    1 << 31,
    1 << 32,
    1_000_000_000,
    1 << 53,
    0.5,
    -0.0,
    1e-300,
    1.0,
    1e15,
    "",
    "\0",
    "a" * 300,
    "../manifest.json",
    "/etc/passwd",
    "CON",
    "a/../b",
    "a\\b",
    "é",
    "e\u0301",
    "K",
    "\U0010ffff",
    "\ufeff",
    "0" * 64,
    "manifest.json",
    "batch",
    "int64",
    [],
    {},
    [[]],
    {"": ""},
    ["a", "a"],
)


class _Texts:
    """Texts of JSON inside a value; each stands in the value as a string that the writer replaces."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> str:
        self._texts.append(text)
        return f"<raw {len(self._texts) - 1}>"

    def replace_in(self, raw: bytes) -> bytes:
        return _RAW.sub(lambda found: self._texts[int(found[1])], raw.decode()).encode() if self._texts else raw


def mutated_json(value: Any, source: Random, *, line: bool = False) -> bytes:
    """Return the bytes of a changed copy of a JSON value.

    :param line: whether the text has no line breaks.
    """
    value, texts = copy.deepcopy(value), _Texts()
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        value = _changed(value, source, texts)
    raw = texts.replace_in((canonical_line if line else canonical)(value))
    if source.random() < 0.05:
        raw = source.choice((b"\xef\xbb\xbf" + raw, raw + b"x", raw + b"{}", b" \t\r" + raw, raw[:-2], b""))
    return raw


def _changed(value: Any, source: Random, texts: _Texts) -> Any:
    """Change one item of a value; the item is chosen by depth first, so that large subtrees are not preferred."""
    if not isinstance(value, (dict, list)) or not value or source.random() < 0.02:
        return _replacement(value, source, texts)
    parent = value
    while True:
        key = source.choice(sorted(parent)) if isinstance(parent, dict) else source.randrange(len(parent))
        child = parent[key]
        if not isinstance(child, (dict, list)) or not child or source.random() < 0.15:
            break
        parent = child
    if isinstance(parent, dict):
        _change_member(parent, key, source, texts)
    else:
        _change_item(parent, key, source, texts)
    return value


def _change_member(parent: dict[str, Any], key: str, source: Random, texts: _Texts) -> None:
    kind = source.randrange(10)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[_changed_text(key, source)] = parent.pop(key)
    elif kind == 2:
        parent[_changed_text(key, source)] = copy.deepcopy(parent[key])
    elif kind == 3:
        other = source.choice(sorted(parent))
        parent[key], parent[other] = parent[other], parent[key]
    else:
        parent[key] = _replacement(parent[key], source, texts)


def _change_item(parent: list[Any], index: int, source: Random, texts: _Texts) -> None:
    kind = source.randrange(8)
    if kind == 0:
        del parent[index]
    elif kind == 1:
        parent.insert(index, copy.deepcopy(parent[index]))
    elif kind == 2:
        other = source.randrange(len(parent))
        parent[index], parent[other] = parent[other], parent[index]
    elif kind == 3 and len(parent) < 100:
        parent *= source.choice((2, 50))
    else:
        parent[index] = _replacement(parent[index], source, texts)


def _replacement(value: Any, source: Random, texts: _Texts) -> Any:
    kind = source.randrange(6)
    if kind == 0:
        return texts.add(source.choice(_TEXTS))
    if kind == 1 and not isinstance(value, str):
        return texts.add(json.dumps(value, separators=(" ,", ": ")).replace("e", "\\u0065", 1))
    if kind <= 3 and isinstance(value, str):
        return _changed_text(value, source)
    if kind <= 3 and type(value) in (int, float):
        return source.choice((value + 1, value - 1, -value, value * 2, value + 0.5, float(value), value // 2))
    return copy.deepcopy(source.choice(VALUES))


def _changed_text(text: str, source: Random) -> str:
    """Change a string: at one character, in its case, or in its length."""
    index = source.randrange(len(text) + 1)
    inserted = source.choice(("\0", "/", "..", "A", "é", "\u2028", "\U0001f600", " ", "\n", "\\", '"', "[", "0"))
    return source.choice(
        (
            text[:index] + inserted + text[index:],
            text[:index] + text[index + 1 :],
            text.swapcase(),
            text + text,
            "../" + text,
            "/" + text,
            text + "/",
            text + ".",
            text[:index],
        )
    )
