"""JSON as FORMAT.md defines it: a strict parser and a canonical writer."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from .constants import MAX_JSON_DEPTH, MAX_JSON_NUMBER
from .errors import ArtifactError

Number = TypeVar("Number", int, float)


def parse(raw: bytes, name: str) -> Any:
    """Parse one JSON text of an artifact as `parse_any` does.

    :param name: the name of the file for the error message.
    :raises ArtifactError: with the code `json`.
    """
    try:
        return parse_any(raw)
    except ValueError as error:
        hint = "Download or build the artifact again."
        raise ArtifactError("json", f"{name} is not valid JSON: {error}", hint=hint) from error


def parse_any(raw: bytes) -> Any:
    """Parse one JSON text.

    :raises ValueError: for invalid JSON, and for duplicate keys, NaN, infinities, lone surrogates, numbers whose
        magnitude exceeds 2^53, and nesting deeper than 32 levels.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=lambda digits: _in_range(_to_number(digits)),
            parse_float=lambda digits: _in_range(float(digits)),
        )
        _check_nesting(value, MAX_JSON_DEPTH)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels") from error
    return value


def canonical(value: Any) -> bytes:
    """Return a JSON value as canonical JSON: sorted keys, an indentation of two spaces, a newline at the end."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def canonical_line(value: Any) -> bytes:
    """Return a JSON value as one canonical line, newline included."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _to_number(digits: str) -> int | float:
    if digits == "-0":  # most JSON parsers read -0 as a float
        return -0.0
    # A literal of more than 20 characters exceeds the limit anyway, and the time of int() is quadratic in its length
    return int(digits) if len(digits) <= 20 else MAX_JSON_NUMBER + 1


def _in_range(number: Number) -> Number:
    if abs(number) > MAX_JSON_NUMBER:
        raise ValueError("the magnitude of a number exceeds 2^53")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"duplicate key {key!r}")
        result[key] = value
    return result


def _check_nesting(value: Any, levels: int) -> None:
    """Raise `ValueError` for lone surrogates, which cannot be encoded, and for values nested deeper than `levels`."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, (dict, list)):
        if levels == 0:
            raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
        for item in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            _check_nesting(item, levels - 1)
