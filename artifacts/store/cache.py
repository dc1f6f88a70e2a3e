"""The cache of artifacts that were pulled from a bucket or web server; see the section Reading of STORE.md."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OnnxMlBridgeError, StoreError, missing_store_library
from ..new_file import new_file, sync
from .layout import ARTIFACTS, LOCKS, MAX_RECORD_BYTES, STAGING, signature_key
from .locking import file_lock

CACHE_VARIABLE = "ONNX_ML_BRIDGE_CACHE"
OFFLINE_VARIABLE = "ONNX_ML_BRIDGE_OFFLINE"
RESOLVED = "resolved"
# The cache removes the artifacts used longest ago when all of them are larger than this
MAX_CACHE_BYTES = 20_000_000_000
# but none that was used in this time,
KEPT_SECONDS = 24 * 3600
# and interrupted downloads that are older than this.
MAX_STAGING_SECONDS = 7 * 24 * 3600


class Cache:
    """A folder with verified artifacts, downloads in progress, and records that names resolved to.

    Any number of processes and threads use it at the same time.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, max_bytes: int = MAX_CACHE_BYTES) -> None:
        """Use a folder, which is created by the first pull.

        :param folder: None is the folder in ONNX_ML_BRIDGE_CACHE, else the cache folder of the user.
        """
        self.folder = (Path(folder) if folder is not None else default_cache()).absolute()
        self.max_bytes = max_bytes

    def find(self, identity: str) -> Path | None:
        """Return the folder of an artifact that is in the cache, and note that it was used; None if it is not there.

        The time of the last use is the modification time of the folder, so that the files stay unchanged.
        """
        path = self._artifact(identity)
        with suppress(OSError):  # the cache can be read-only
            os.utime(path)
        return path if path.is_dir() else None

    def staging(self, identity: str) -> Path:
        """Return the folder of the download of an artifact."""
        return self.folder / STAGING / identity

    @contextmanager
    def lock(self, identity: str) -> Iterator[None]:
        """Hold the lock of an artifact, which lets one thread of one process download it. Waits for others.

        :raises StoreError: if the folder cannot be written or does not support locks.
        """
        path = self.folder / LOCKS / f"{identity}.lock"
        with cache_errors(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = file_lock(path)
            lock.acquire()
        try:
            yield
        finally:
            with cache_errors(self.folder):
                lock.release()

    def add(self, identity: str, staging: Path) -> Path:
        """Make a verified artifact visible, whose files and folders are on disk. Requires its lock."""
        path = self._artifact(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(staging)
        staging.rename(path)
        sync(path.parent)
        return path

    def remove(self, identity: str) -> None:
        """Remove an artifact: first its name, then its files. Requires its lock."""
        removed = self.folder / STAGING / f"removed-{secrets.token_hex(8)}"
        removed.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._artifact(identity).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def shrink(self) -> None:
        """Remove the artifacts used longest ago until the cache has its maximum size, and old leftovers of downloads.

        Artifacts that were used within 24 hours, or whose lock somebody holds, remain.
        """
        now = time.time()
        sizes = {path: _size(path) for _, path in sorted(_by_last_use(self.folder / ARTIFACTS))}
        excess = sum(sizes.values()) - self.max_bytes
        for path, size in sizes.items():
            if excess > 0 and self._evict(path):
                excess -= size
        for last_use, path in _by_last_use(self.folder / STAGING):
            if last_use < now - MAX_STAGING_SECONDS:
                with self._try_lock(path.name) as is_held:
                    if is_held:
                        shutil.rmtree(path, ignore_errors=True)

    def _evict(self, path: Path) -> bool:
        """Remove an artifact that nobody used within 24 hours; return whether it was removed."""
        with self._try_lock(path.name) as is_held:
            kept = not is_held or not path.exists() or path.stat().st_mtime > time.time() - KEPT_SECONDS
            if not kept:
                self.remove(path.name)
            return not kept

    @contextmanager
    def _try_lock(self, identity: str) -> Iterator[bool]:
        """Hold the lock of an artifact if nobody else does."""
        from filelock import Timeout

        lock = file_lock(self.folder / LOCKS / f"{identity}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def resolved(self, address: str, key: str) -> bytes | None:
        """Return the record that the store at `address` had for a key when it was last read."""
        path = self._resolved(address, key)
        try:
            with path.open("rb") as file:
                return file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the cache {self.folder} cannot be read: {error}") from error

    def keep_resolved(self, address: str, key: str, content: bytes) -> None:
        """Keep a record of a store; a cache that cannot be written keeps none."""
        with suppress(OSError):
            if self.resolved(address, key) != content:
                self.write_resolved(address, key, content)

    def write_resolved(self, address: str, key: str, content: bytes) -> None:
        """Keep a record of a store."""
        self._write(self._resolved(address, key), content)

    def signature(self, identity: str, key_hash: str) -> Path:
        """Return the path of the bundle of a key."""
        return self.folder / signature_key(identity, key_hash)

    def keep_signature(self, identity: str, key_hash: str, content: bytes) -> None:
        """Keep a bundle, which is valid."""
        self._write(self.signature(identity, key_hash), content)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as file:
            file.write(content)

    def _artifact(self, identity: str) -> Path:
        return self.folder / ARTIFACTS / identity

    def _resolved(self, address: str, key: str) -> Path:
        return self.folder / RESOLVED / hashlib.sha256(address.encode()).hexdigest() / key


def default_cache() -> Path:
    """Return the folder in ONNX_ML_BRIDGE_CACHE, else the cache folder of the user."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    try:
        import platformdirs
    except ImportError as error:
        raise missing_store_library("stores require", "platformdirs") from error
    return Path(platformdirs.user_cache_dir("onnx-ml-bridge", appauthor=False))


def is_offline() -> bool:
    """Whether ONNX_ML_BRIDGE_OFFLINE forbids requests to stores."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() in ("1", "true", "yes", "on")


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Convert `OSError` of the cache.

    :raises OnnxMlBridgeError: with the code `io`.
    """
    try:
        yield
    except OSError as error:
        hint = f"Free some space, or set {CACHE_VARIABLE} to another folder on a local disk."
        raise OnnxMlBridgeError("io", f"the cache {folder} cannot be used: {error}", hint=hint) from error


def _by_last_use(folder: Path) -> list[tuple[float, Path]]:
    """Return the folders in a folder, with the times at which they were modified."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime, path))
    return found


def _size(folder: Path) -> int:
    """Return the size of the files in a folder and its subfolders in bytes."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).lstat().st_size
    return size
