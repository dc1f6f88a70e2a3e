"""Locks of files, which the operating system releases when the process ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import missing_store_library

if TYPE_CHECKING:
    from filelock import BaseFileLock


def file_lock(path: Path) -> BaseFileLock:
    """Return the lock of a file, which is not held yet; any thread can release it.

    :raises DependencyError: if the library `filelock` is missing.
    """
    try:
        from filelock import FileLock
    except ImportError as error:
        raise missing_store_library("stores require", "filelock") from error
    return FileLock(path, thread_local=False)
