"""The files of an output folder that are not its parts: the lock, and what a killed process was writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...artifacts.errors import ConfigError

# The temporary names of `new_file` for a part and for the state; other files in the folder are not touched
_TEMPORARY = (".part-*.tmp", ".state.json.*.tmp")
_LOCK = ".lock"


def remove_temporary(folder: Path) -> None:
    """Remove the files that a killed process was writing."""
    for pattern in _TEMPORARY:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in this context; the system releases it when the process ends.

    :raises ConfigError: if another process holds it.
    """
    try:
        with FileLock(folder / _LOCK).acquire(blocking=False):
            yield
    except Timeout as error:
        raise ConfigError("--output", expected="a folder that no other run writes", actual=str(folder)) from error


def has_files(folder: Path) -> bool:
    """Return whether a folder has other files than the lock and those that a killed process was writing."""
    return any(path.name != _LOCK and not any(map(path.match, _TEMPORARY)) for path in folder.iterdir())
