"""The operations of an overlay (a change to a valid artifact). Each computes the new bytes of a file; see README.md."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from onnx_ml_bridge.artifacts.strict_json import canonical, canonical_line

# An operation is a JSON object with one member: its key is the name of the operation, its value the argument.
Operation = dict[str, Any]


def apply(operation: Operation, raw: bytes) -> bytes:
    """Return the bytes of a file after one operation.

    :raises ValueError: if the argument does not fit the bytes.
    :raises LookupError: for an unknown operation, or if a JSON pointer has no target.
    """
    ((name, argument),) = operation.items()
    return _OPERATIONS[name](raw, argument)


def _flip(raw: bytes, offset: int) -> bytes:
    """Flip the lowest bit of one byte."""
    return raw[:offset] + bytes([raw[offset] ^ 1]) + raw[offset + 1 :]


def _truncate(raw: bytes, size: int) -> bytes:
    if size >= len(raw):
        raise ValueError(f"{len(raw)} bytes cannot be cut to {size}")
    return raw[:size]


def _replace(raw: bytes, argument: list[str]) -> bytes:
    """Replace every occurrence of a text."""
    old, new = (text.encode() for text in argument)
    if old not in raw:
        raise ValueError(f"{argument[0]!r} does not occur")
    return raw.replace(old, new)


def _splice(raw: bytes, splices: list[tuple[int, str, str]]) -> bytes:
    """Replace bytes at offsets of the original; a character up to U+00FF is one byte."""
    result, end = b"", 0
    for offset, old, new in splices:
        if offset < end or raw[offset : offset + len(old)] != old.encode("latin-1"):
            raise ValueError(f"{old!r} is not at offset {offset}")
        result, end = result + raw[end:offset] + new.encode("latin-1"), offset + len(old)
    return result + raw[end:]


def _patch(value: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply a JSON Patch to a JSON value, in place: add, remove, replace, copy and move."""
    for operation in operations:
        kind, path = operation["op"], operation["path"]
        if kind in ("copy", "move"):
            added = copy.deepcopy(_get(value, operation["from"]))
        elif kind in ("add", "replace"):
            added = operation["value"]
        elif kind != "remove":
            raise ValueError(f"unknown operation {kind!r}")
        if kind in ("remove", "move", "replace"):
            _remove(value, operation["from"] if kind == "move" else path)
        if kind != "remove":
            _add(value, path, added)
    return value


def _get(value: Any, path: str) -> Any:
    parent, key = _parent(value, path)
    return parent[key]


def _remove(value: Any, path: str) -> None:
    parent, key = _parent(value, path)
    del parent[key]


def _add(value: Any, path: str, added: Any) -> None:
    parent, key = _parent(value, path)
    if isinstance(parent, dict):
        parent[key] = added
    elif key > len(parent):
        raise IndexError(path)
    else:
        parent.insert(key, added)


def _parent(value: Any, path: str) -> tuple[Any, Any]:
    """Return the object or array that holds the target of a JSON pointer, and the target's key or index in it."""
    root, *steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    if root or not steps:
        raise ValueError(f"{path!r} points to no member")
    for step in steps[:-1]:
        value = value[_key(value, step)]
    return value, _key(value, steps[-1])


def _key(value: Any, step: str) -> str | int:
    if isinstance(value, dict):
        return step
    if not isinstance(value, list):
        raise LookupError(f"{step!r} in a value without members")
    if step == "-":
        return len(value)
    if not step.isdecimal():
        raise ValueError(f"{step!r} is no index")
    return int(step)


def _patch_lines(raw: bytes, operations: list[dict[str, Any]]) -> bytes:
    """Patch JSON lines as an array of values."""
    lines = [json.loads(line) for line in raw.splitlines()]
    return b"".join(map(canonical_line, _patch(lines, operations)))


_OPERATIONS: dict[str, Callable[[bytes, Any], bytes]] = {
    "text": lambda raw, text: text.encode(),
    "repeat": lambda raw, counts: "".join(text * count for text, count in counts).encode(),
    "append": lambda raw, text: raw + text.encode(),
    "truncate": _truncate,
    "flip": _flip,
    "replace": _replace,
    "splice": _splice,
    "patch": lambda raw, operations: canonical(_patch(json.loads(raw), operations)),
    "patch_compact": lambda raw, operations: canonical_line(_patch(json.loads(raw), operations)),
    "patch_lines": _patch_lines,
}
