"""Reference summaries that people wrote, from a JSON lines file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...artifacts import strict_json
from ...artifacts.errors import BuildError

_FORM = 'an object with the keys "text" or "messages", and "summary", whose values are strings'


@dataclass(frozen=True)
class Reference:
    """The messages of one input and their reference summary."""

    messages: tuple[str, ...]
    summary: str


def read_references(path: Path) -> list[Reference]:
    """Read JSON lines with the keys `summary` and either `text` or `messages`.

    :raises BuildError: with the code `config`, naming the first invalid line.
    """
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise BuildError("config", f"references {path}: {error}") from error
    return [_reference(line, f"references {path}, line {number}") for number, line in enumerate(lines, start=1)]


def references_hash(references: Iterable[Reference]) -> str:
    """Return the SHA-256 of the references as canonical JSON lines, in hexadecimal."""
    records = ({"messages": list(each.messages), "summary": each.summary} for each in references)
    return hashlib.sha256(b"".join(map(strict_json.canonical_line, records))).hexdigest()


def _reference(line: bytes, where: str) -> Reference:
    try:
        value = strict_json.parse_any(line)
    except ValueError as error:
        raise BuildError("config", f"{where}: {error}") from error
    if isinstance(value, dict) and set(value) in ({"text", "summary"}, {"messages", "summary"}):
        messages, summary = value.get("messages", [value.get("text")]), value["summary"]
        is_typed = isinstance(messages, list) and all(isinstance(each, str) for each in [*messages, summary])
        if is_typed and any(message.strip() for message in messages):
            return Reference(tuple(messages), summary)
    raise BuildError("config", where, expected=_FORM, actual=str(value)[:80])
