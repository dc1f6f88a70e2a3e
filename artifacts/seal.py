"""Turn a staging folder into an artifact atomically.

The staging folder is a sibling of the target, so the last step is a rename within one file system. `recover` cleans up
after a build that was killed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .checks import check_all, hash_line, read_artifact, sha256_file
from .constants import MANIFEST, MANIFEST_HASH
from .errors import BuildError
from .families import FAMILIES
from .family import Family
from .manifest import FileEntry, Manifest
from .new_file import sync, sync_tree


@contextmanager
def staging_for(target: Path) -> Iterator[Path]:
    """Create an empty staging folder beside `target`, and remove it at the end of the context.

    :raises BuildError: with the code `io` if another process builds `target`, or `target` exists and is not an
        artifact.
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
            shutil.rmtree(staging, ignore_errors=True)  # `seal` has renamed the folder if it succeeded


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Return size and SHA-256 of every file below `folder`, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in paths}


def describe_file(path: Path) -> FileEntry:
    """Return size and SHA-256 of a file."""
    return FileEntry(path.stat().st_size, sha256_file(path))


def seal(staging: Path, manifest: Manifest, target: Path, families: Iterable[Family] = FAMILIES) -> str:
    """Write the manifest into `staging`, check the result, and move it to `target`.

    An existing artifact is renamed before the move and removed after it, so that a complete artifact is on disk at any
    time.

    :returns: the identity, which is the SHA-256 of the manifest.
    :raises ArtifactError: if the new artifact fails the checks; `target` is unchanged then.
    """
    families = tuple(families)
    _copy_hard_links(staging)
    (staging / MANIFEST).write_bytes(manifest.to_bytes(families))
    identity = sha256_file(staging / MANIFEST)
    (staging / MANIFEST_HASH).write_bytes(hash_line(identity))
    sync_tree(staging)
    check_all(read_artifact(staging, families))
    _swap(staging, target)
    return identity


def recover(target: Path) -> None:
    """Restore the artifact after an interrupted replacement, and remove leftovers of an interrupted build."""
    staging, replaced = _staging(target), _replaced(target)
    shutil.rmtree(staging, ignore_errors=True)
    if replaced.exists():
        replaced.rename(staging if target.exists() else target)
    shutil.rmtree(staging, ignore_errors=True)


def _require_replaceable(target: Path) -> None:
    if target.exists() and not (target / MANIFEST).is_file():
        raise BuildError(
            "io", f"{target} exists and is not an artifact", hint="Choose another folder, or remove this one."
        )


def _swap(staging: Path, target: Path) -> None:
    _require_replaceable(target)  # checked again, because the target may have changed during the build
    replaced = _replaced(target)
    if target.exists():
        target.rename(replaced)
    try:
        staging.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise
    sync(target.parent)
    if replaced.exists():
        # Only a complete artifact has this name, because `recover` puts it back
        with suppress(OSError):
            replaced.rename(staging)
        shutil.rmtree(staging, ignore_errors=True)


def _copy_hard_links(folder: Path) -> None:
    """Replace every file that has another name by a copy: a change of the other file would change the artifact."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink > 1):
        copied = shutil.copyfile(path, path.with_name(f"{path.name}.copied"))
        copied.replace(path)


def _staging(target: Path) -> Path:
    return target.parent / f".{target.name}.staging"


def _replaced(target: Path) -> Path:
    return target.parent / f".{target.name}.replaced"


@contextmanager
def _only_builder(target: Path) -> Iterator[None]:
    """Hold the lock of a target folder in this context, so that only one process builds the artifact.

    The operating system releases the lock when the process ends. The lock file is never removed: otherwise two
    processes could lock two different files with this name.

    :raises BuildError: with the code `io` if another process builds the same target.
    """
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        with lock.acquire(blocking=False):
            yield
    except Timeout as error:
        raise BuildError(
            "io", f"{target} is being built by another process", hint="Wait until it has finished."
        ) from error
