"""Golden cases: inputs with the original model's outputs, sealed with the artifact and replayed by `verify`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from . import strict_json
from .errors import ArtifactError


class Case(Protocol):
    """What golden cases of every family can do."""

    def to_record(self) -> dict[str, Any]:
        """The record of golden.jsonl."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Any:
        """Read a record back; `ValueError`, `KeyError` or `TypeError` for one of another form."""


AnyCase = TypeVar("AnyCase", bound=Case)


def write_golden(cases: Iterable[Case], path: Path) -> None:
    """Write the cases as canonical JSON lines."""
    path.write_bytes(b"".join(strict_json.canonical_line(case.to_record()) for case in cases))


def read_golden(path: Path, kind: type[AnyCase]) -> list[AnyCase]:
    """Read the cases of one kind from golden.jsonl, or raise `ArtifactError` with the code `golden`."""
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        return [kind.from_record(strict_json.parse(line, path.name)) for line in lines]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("golden", f"{path.name} cannot be read: {error!r}") from error
