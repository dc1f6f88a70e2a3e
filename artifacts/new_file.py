"""Files that exist completely or not at all, also after a crash."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# A disk writes several files faster together than one after another
_SYNCED_TOGETHER = 8


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under the temporary name `.NAME.RANDOM.tmp`, and rename it to `path` at the end of the context.

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
    if os.name == "posix":  # Windows cannot open folders
        sync(path.parent)


def sync(path: Path) -> None:
    """Write a file, or the names of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Write all files below a folder to disk, several at the same time, and then the names in the folders.

    If the system refuses a thread, which Python reports as RuntimeError, the files are written one after the other.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    try:
        with ThreadPoolExecutor(_SYNCED_TOGETHER) as pool:
            list(pool.map(sync, files))
    except RuntimeError:
        for file in files:
            sync(file)
    sync_folders(folder)


def sync_folders(folder: Path) -> None:
    """Write the names in a folder and its subfolders to disk."""
    for parent, _, _ in os.walk(folder, topdown=False):
        sync(Path(parent))
