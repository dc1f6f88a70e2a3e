"""Files that exist completely or not at all, and a lock for a folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...artifacts.errors import ConfigError

_TEMPORARY = ".*.tmp"
_LOCK = ".lock"


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name, and rename it to `path` at the end of the context.

    The file is on disk before it has its name. After an error nothing is left.

    :raises OSError: if the file cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the names of a folder to disk; does nothing where folders cannot be opened, as on Windows."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path) -> None:
    """Remove the files that a killed process was writing."""
    for path in folder.glob(_TEMPORARY):
        path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in this context; the system releases it when the process ends.

    :raises ConfigError: if another process holds it.
    """
    with (folder / _LOCK).open("ab") as file:
        try:
            _lock(file)
        except OSError as error:
            raise ConfigError("--output", expected="a folder that no other run writes", actual=str(folder)) from error
        yield


def has_files(folder: Path) -> bool:
    """Return whether a folder has other files than the lock and those that a killed process was writing."""
    return any(path.name != _LOCK and not path.match(_TEMPORARY) for path in folder.iterdir())


def _lock(file: IO[bytes]) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
