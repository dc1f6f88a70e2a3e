"""state.json in the output folder: what a run depends on, so that only the same run resumes, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...artifacts import strict_json
from ...artifacts.constants import MAX_JSON_NUMBER
from ...artifacts.errors import ConfigError, OnnxMlBridgeError
from ...artifacts.new_file import new_file
from .files import has_files

STATE = "state.json"
_FORMAT = 1
RUNNING, STOPPED, COMPLETE = "running", "stopped", "complete"
# The fields that say how far a run is
_PROGRESS = ("status", "failed")


@dataclass(frozen=True)
class State:
    """The inputs of a run, from which every byte of its output follows.

    `identity` is the SHA-256 of the artifact's manifest. `variant` is resolved, not `auto`.
    """

    command: str
    input_bytes: int
    input_sha256: str
    rows: int
    part_rows: int
    identity: str | None
    variant: str
    options: Mapping[str, Any]
    format: int = _FORMAT


def begin(folder: Path, state: State, *, resume: bool) -> None:
    """Write the state of a new run, or compare it with that of the run to resume.

    :raises ConfigError: if the folder has files of another run, or of this one without `resume`; if a number is above
        2^53.
    """
    _check_numbers(asdict(state))
    if not has_files(folder):
        write(folder, state, RUNNING)
    elif not resume:
        expected = "a new or empty folder, or --resume to continue the run of this folder"
        raise ConfigError("--output", expected=expected, actual=str(folder))
    else:
        _compare(state, _read(folder))
        write(folder, state, RUNNING)


def write(folder: Path, state: State, status: str, failed: int | None = None) -> None:
    """Replace the state.

    :param status: `running`, `stopped` or `complete`.
    :param failed: the number of rows that failed, if the run is complete.
    """
    with new_file(folder / STATE) as file:
        file.write(strict_json.canonical({**asdict(state), "status": status, "failed": failed}))


def _read(folder: Path) -> dict[str, Any]:
    try:
        value = strict_json.parse_any((folder / STATE).read_bytes())
    except FileNotFoundError as error:
        raise ConfigError("--output", expected=f"a folder with {STATE}", actual=str(folder)) from error
    except ValueError as error:
        raise OnnxMlBridgeError("io", f"{folder / STATE}: {error}", hint="Choose another --output.") from error
    return value if isinstance(value, dict) else {}


def _compare(state: State, started: Mapping[str, Any]) -> None:
    differences = list(_differences(asdict(state), started))
    if differences:
        problems = "; ".join(f"{name} was {_shown(before)} and is {_shown(now)}" for name, before, now in differences)
        expected = "the input, model and options with which the run was started"
        raise ConfigError("--resume", expected=expected, actual=problems)


def _differences(state: Mapping[str, Any], started: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of every field that differs, with its value when the run was started and its value now.

    A field that one of them does not have is None there. The progress of the started run is left out.
    """
    for name in dict.fromkeys((*state, *started)):
        before, now = started.get(name), state.get(name)
        if name in _PROGRESS:
            continue
        if isinstance(now, Mapping):
            yield from _differences(now, before if isinstance(before, Mapping) else {})
        elif before != now:
            yield name, before, now


def _shown(value: object) -> str:
    return "not given" if value is None else repr(value)


def _check_numbers(fields: Mapping[str, Any]) -> None:
    """Refuse numbers that a later run could not read, because JSON keeps no larger ones exactly."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            _check_numbers(value)
        elif isinstance(value, (int, float)) and abs(value) > MAX_JSON_NUMBER:
            expected = f"a magnitude of at most {MAX_JSON_NUMBER} in a run over a file"
            raise ConfigError(name, expected=expected, actual=repr(value))
