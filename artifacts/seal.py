"""Sealing: a staging folder becomes an artifact, all of it or nothing.

The staging folder lies beside its target, so that the last step is a rename on one file system. Leftovers of a build
that was killed are cleaned up by the next one (`recover`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .checks import check_all, hash_line, read_artifact, sha256_file
from .constants import MANIFEST, MANIFEST_HASH
from .errors import BuildError
from .families import FAMILIES
from .family import Family
from .manifest import FileEntry, Manifest


@contextmanager
def staging_for(target: Path) -> Iterator[Path]:
    """Give a fresh folder beside `target` to build in; it is gone afterwards, sealed or not.

    :raises BuildError: when another process builds there, or what is there is no artifact: nothing could replace it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(target):
        recover(target)
        _require_replaceable(target)
        staging = _staging(target)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)  # after a sealing it has been renamed and is not there


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of every file below `folder`, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in paths}


def describe_file(path: Path) -> FileEntry:
    """Size and SHA-256 of a file."""
    return FileEntry(path.stat().st_size, sha256_file(path))


def seal(staging: Path, manifest: Manifest, target: Path, families: Iterable[Family] = FAMILIES) -> str:
    """Write the manifest of what is in `staging`, sync, verify and move it to `target`; returns its identity.

    An artifact that was at `target` is renamed aside first and removed last, so that at every moment one of the two is
    whole on disk.

    :raises ArtifactError: when what was written does not verify; `target` is then as it was.
    """
    families = tuple(families)
    (staging / MANIFEST).write_bytes(manifest.to_bytes(families))
    identity = sha256_file(staging / MANIFEST)
    (staging / MANIFEST_HASH).write_bytes(hash_line(identity))
    _sync_tree(staging)
    check_all(read_artifact(staging, families))
    _swap(staging, target)
    return identity


def recover(target: Path) -> None:
    """Put back what an interrupted swap left aside, and remove what an interrupted build left half done."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        aside.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(_staging(target), ignore_errors=True)


def _require_replaceable(target: Path) -> None:
    if target.exists() and not (target / MANIFEST).is_file():
        raise BuildError("io", f"{target} is there and is no artifact", hint="Choose another folder or remove it.")


def _swap(staging: Path, target: Path) -> None:
    _require_replaceable(target)  # again: a build takes a while
    aside = _aside(target)
    if target.exists():
        target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _staging(target: Path) -> Path:
    return target.parent / f".{target.name}.staging"


def _aside(target: Path) -> Path:
    return target.parent / f".{target.name}.replaced"


def _sync_tree(folder: Path) -> None:
    for directory, _, names in os.walk(folder):
        for name in names:
            _sync(Path(directory, name))
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _only_builder(target: Path) -> Iterator[None]:
    """Hold the lock of a target; it ends with the process that holds it, however that ends.

    :raises BuildError: with the code `io` when another build of the same target is under way.
    """
    lock = FileLock(target.parent / f".{target.name}.lock")  # stays: removing it would let two builders in at once
    try:
        with lock.acquire(blocking=False):
            yield
    except Timeout as error:
        raise BuildError("io", f"{target} is being built by another process", hint="Wait for it.") from error
