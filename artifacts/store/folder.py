"""A store in a folder, which may be on a network file system."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..checks import check_hashes, read_artifact
from ..constants import MANIFEST, MANIFEST_HASH
from ..errors import ArtifactError, StoreError
from ..new_file import new_file, sync, sync_folders
from .backend import Entry, Stored
from .layout import LOCKS, STAGING, artifact_key
from .locking import file_lock

logger = logging.getLogger(__name__)
_PIECE_BYTES = 1 << 20
_TEMPORARY = ".tmp"


class FolderBackend:
    """Reads and writes a store in a folder. Any number of processes and threads use it at the same time."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Use a folder, which is created by the first write."""
        self.root = Path(root).absolute()

    @property
    def address(self) -> str:
        """The path of the folder."""
        return str(self.root)

    # -- Reading

    def get(self, key: str, limit: int) -> Stored | None:
        """Return a small object, None if it is missing.

        :param limit: the maximum size in bytes.
        :raises StoreError: if it is larger, a symbolic link, or cannot be read.
        """
        with self._errors(f"read {key}"):
            try:
                descriptor = os.open(self.root / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return None
            with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
                content = file.read(limit + 1)
        if len(content) > limit:
            raise StoreError(f"{key} is too large", expected=f"at most {limit} bytes")
        return Stored(content, hashlib.sha256(content).hexdigest())

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of an object in `[start, end)`, in pieces."""
        with self._errors(f"read {key}"), (self.root / key).open("rb") as file:
            file.seek(start)
            while piece := file.read(min(_PIECE_BYTES, end - file.tell())):
                yield piece

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield all objects below `prefix/`, at any depth."""
        for parent, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(parent, name)
                with suppress(FileNotFoundError):  # somebody deletes it at the same time
                    status = path.lstat()
                    yield Entry(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix/`, sorted."""
        with self._errors(f"list {prefix}"):
            try:
                return sorted(path.name for path in (self.root / prefix).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    # -- Writing

    def put_artifact(self, folder: Path, identity: str, files: Iterable[str]) -> None:
        """Copy a sealed artifact to its folder: it is there completely, on disk, or not at all.

        One that is there and undamaged is kept, and is new for gc. Its hashes are compared while it is copied.

        :raises ArtifactError: with the code `file_hash` if a file changed since the artifact was checked.
        """
        with self._errors(f"write {artifact_key(identity)}"):
            if self._kept(identity):
                return
            staging = self.root / STAGING / str(uuid.uuid4())
            self._make_folder(staging.parent)
            try:
                _copy(folder, staging, [*files, MANIFEST, MANIFEST_HASH])
                if read_artifact(staging).identity != identity:
                    raise ArtifactError("manifest_hash", f"{folder} was replaced while it was published")
                sync_folders(staging)
                self._move_in(staging, identity)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _kept(self, identity: str) -> bool:
        """Whether an artifact is there and undamaged; if so, it is new for gc."""
        path = self.root / artifact_key(identity)
        try:
            os.utime(path / MANIFEST_HASH)
            artifact = read_artifact(path)
            check_hashes(artifact, artifact.manifest.files)
        except (ArtifactError, FileNotFoundError, NotADirectoryError):
            return False
        return artifact.identity == identity

    def _move_in(self, staging: Path, identity: str) -> None:
        target = self.root / artifact_key(identity)
        self._make_folder(target.parent)
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if self._kept(identity):
                return  # another publisher was faster
            self._discard(target)
            staging.rename(target)
        sync(target.parent)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write an object that does not exist; false if it exists with another content.

        :raises StoreError: on file systems without hard links, whose names cannot be taken atomically.
        """
        path = self.root / key
        with self._errors(f"write {key}"):
            self._make_folder(path.parent)
            with self._temporary(path, content) as temporary:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return path.read_bytes() == content
                sync(path.parent)
            return True

    def replace(self, key: str, content: bytes, etag: str | None) -> bool:
        """Write an object if its content has this ETag, or if it is absent for None; false otherwise.

        Where locks do not work, one of two simultaneous changes can be lost.
        """
        if etag is None:
            return self.put_if_absent(key, content)
        with self._lock(key):
            stored = self.get(key, len(content) + (1 << 20))
            if stored is None or stored.etag != etag:
                return False
            self.put(key, content)
            return True

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whether it exists or not."""
        path = self.root / key
        with self._errors(f"write {key}"):
            self._make_folder(path.parent)
            with new_file(path) as file:
                file.write(content)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and folders that are empty then; missing ones are ignored."""
        for key in keys:
            path = self.root / key
            with self._errors(f"delete {key}"):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder is not empty
                path.parent.rmdir()

    def delete_artifact(self, identity: str) -> None:
        """Delete an artifact: first its name, then its files."""
        with self._errors(f"delete {artifact_key(identity)}"), suppress(FileNotFoundError):
            self._discard(self.root / artifact_key(identity))

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Delete what interrupted writes left before a time, in seconds since 1970; return the keys."""
        models = (self.root / entry.key for entry in self.entries("models") if entry.key.endswith(_TEMPORARY))
        with self._errors("list .staging"):
            staged = (self.root / STAGING).iterdir() if (self.root / STAGING).is_dir() else ()
            found = [path for path in (*staged, *models) if _newest(path) < before]
            for path in () if dry_run else found:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    # -- Folders, files and locks

    def _discard(self, path: Path) -> None:
        """Take an artifact out of the store, then delete its files: they stay complete as long as it has its name."""
        removed = self.root / STAGING / f"removed-{uuid.uuid4()}"
        self._make_folder(removed.parent)
        path.rename(removed)
        sync(path.parent)
        sync(removed.parent)
        shutil.rmtree(removed, ignore_errors=True)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder of the store and its parents, on disk.

        Folders that exist are written to disk too: another process may have created them and not come further.
        """
        missing = [each for each in (self.root, *self.root.parents) if not each.is_dir()]
        below = [self.root.joinpath(*folder.relative_to(self.root).parts[:depth]) for depth in range(1, 16)]
        for each in (*reversed(missing), *dict.fromkeys(below)):
            with suppress(FileExistsError):
                each.mkdir()
            sync(each.parent)

    @contextmanager
    def _temporary(self, path: Path, content: bytes) -> Iterator[Path]:
        """Write a file beside `path`, on disk, which is removed at the end of the context."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the lock of an object. The operating system releases it when the process ends."""
        path = self.root / LOCKS / f"{hashlib.sha256(key.encode()).hexdigest()}.lock"
        with self._errors(f"lock {key}"):
            self._make_folder(path.parent)
            lock = file_lock(path)
            try:
                lock.acquire()
            except NotImplementedError:
                logger.warning("%s does not support locks: simultaneous changes of a tag can be lost", self.root)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"cannot {action} in the store {self.address}: {error.strerror or error}"
            raise StoreError(what, hint=_hint(error)) from error


def _copy(folder: Path, staging: Path, names: Iterable[str]) -> None:
    """Copy files, compare them with the manifest, and write them to disk."""
    manifest = read_artifact(folder).manifest
    for name in names:
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (folder / name).open("rb") as source, target.open("xb") as file:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if name in manifest.files and digest.hexdigest() != manifest.files[name].sha256:
            expected = f"SHA-256 {manifest.files[name].sha256}"
            raise ArtifactError("file_hash", name, expected=expected, actual=digest.hexdigest(), hint=_CHANGED)


_CHANGED = "The file changed while it was published: publish again."


def _newest(path: Path) -> float:
    """Return when a file, or the newest file in a folder, was last modified."""
    try:
        times = [Path(parent, name).lstat().st_mtime for parent, _, names in os.walk(path) for name in names]
        return max(times, default=path.lstat().st_mtime)
    except OSError:  # somebody writes or deletes it
        return time.time()


def _hint(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK) and error.filename2 is not None:
        return "The file system does not support hard links, without which a version cannot be written safely."
    return {
        errno.ENOSPC: "Free some space on the disk.",
        errno.EACCES: "Check the permissions of the folder.",
        errno.EROFS: "The file system is read-only.",
        errno.ELOOP: "A store has no symbolic links.",
    }.get(error.errno or 0, "Check the folder and the disk.")
