"""Golden cases: inputs with the outputs of the original model. They are part of an artifact; `verify` replays them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from . import strict_json
from .errors import ArtifactError
from .reading import reading_errors


class Case(Protocol):
    """The protocol that the golden case classes of all families implement."""

    def to_record(self) -> dict[str, Any]:
        """Return the case as a JSON object, which is one line of golden.jsonl."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Any:
        """Parse a record of golden.jsonl.

        :raises ValueError, KeyError, TypeError: for a record with other keys or types.
        """


AnyCase = TypeVar("AnyCase", bound=Case)


def write_golden(cases: Iterable[Case], path: Path) -> None:
    """Write the cases to `path` as canonical JSON lines."""
    path.write_bytes(b"".join(strict_json.canonical_line(case.to_record()) for case in cases))


@reading_errors()
def read_golden(path: Path, kind: type[AnyCase]) -> list[AnyCase]:
    """Read the cases of a golden.jsonl.

    :param kind: the class of the cases.
    :raises ArtifactError: with the code `golden` if the file or a record is invalid, `io` if it cannot be read.
    """
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        return [kind.from_record(strict_json.parse(line, path.name)) for line in lines]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("golden", f"{path.name} cannot be read: {error!r}") from error
