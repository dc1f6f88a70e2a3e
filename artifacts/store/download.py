"""Downloads an artifact in ranges: several at a time, appended in order and hashed, continued after a break."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from ..checks import FileRecord, hash_line
from ..constants import MANIFEST, MANIFEST_HASH, MAX_MANIFEST_BYTES
from ..errors import ArtifactError, OnnxMlBridgeError, StoreError
from ..manifest import FileEntry, Manifest, parse_manifest
from .backend import Reader
from .layout import artifact_key
from .progress import Report

PART_BYTES = 8 << 20
IN_FLIGHT = 4
# A part is given up after this number of errors without a byte in between.
_ATTEMPTS = 3

Piece = bytes | memoryview
Pieces = Iterable[Piece]


class Source(Reader, Protocol):
    """A bucket or web server."""

    def has_ranges(self, key: str) -> bool:
        """Whether a part of an object can be read without what is before it; `key` is an object that is not empty."""


@dataclass(frozen=True)
class Part:
    """The bytes `[start, end)` of an object."""

    key: str
    start: int
    end: int


def fetch_manifest(source: Source, identity: str) -> bytes:
    """Return the manifest of an artifact.

    :raises StoreError: if the store does not have it.
    :raises ArtifactError: with the code `manifest_hash` if it is another one.
    """
    stored = source.get(artifact_key(identity, MANIFEST), MAX_MANIFEST_BYTES)
    if stored is None:
        what = f"the store {source.address} has no artifact {identity}, although a record names it"
        raise StoreError(what, hint="Publish it again.")
    if (actual := hashlib.sha256(stored.content).hexdigest()) != identity:
        what = f"the manifest of {identity} in the store {source.address} was modified"
        raise ArtifactError("manifest_hash", what, expected=identity, actual=actual, hint="Publish it again.")
    return stored.content


def download(source: Source, identity: str, folder: Path, report: Report | None = None) -> dict[str, FileRecord]:
    """Download the files of an artifact to a folder, which can have a part of them from an earlier try.

    Every file has the hash in the manifest, but nothing needs to be on disk yet; see `new_file.sync_tree`.

    :returns: the records of the files whose hashes were computed from what was written, by name.
    :raises StoreError: if the store cannot be read; what is there by then remains.
    :raises ArtifactError: with the code `file_hash` for a file of another content, which is removed.
    """
    raw = fetch_manifest(source, identity)
    manifest = parse_manifest(raw)
    folder.mkdir(parents=True, exist_ok=True)
    files = [_File(folder / name, artifact_key(identity, name), entry) for name, entry in manifest.files.items()]
    _require_space(folder, sum(file.missing for file in files))
    progress = _Progress(report, manifest, sum(file.entry.size - file.missing for file in files))
    has_ranges = source.has_ranges(artifact_key(identity, MANIFEST))
    with (_parts_ahead if has_ranges else _streams)(source, files) as fetched:
        records = {file.path.relative_to(folder).as_posix(): file.complete(fetched, progress) for file in files}
    for name, content in ((MANIFEST, raw), (MANIFEST_HASH, hash_line(identity))):
        (folder / name).write_bytes(content)
    return records


class _File:
    """A file that is downloaded, or a part of which is there."""

    def __init__(self, path: Path, key: str, entry: FileEntry) -> None:
        self.path, self.key, self.entry = path, key, entry
        start = path.stat().st_size if path.is_file() else 0
        self.start = start if start <= entry.size else 0

    @property
    def missing(self) -> int:
        """The number of bytes that are missing."""
        return self.entry.size - self.start

    def complete(self, fetched: Iterator[Pieces], progress: _Progress) -> FileRecord:
        """Append what is missing, and compare the hash of all.

        :param fetched: the pieces of the parts of this file, and then those of the next files.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "x+b", buffering=0) as file:
            file.truncate(self.start)
            hasher = hashlib.file_digest(file, "sha256")
            file.seek(0, os.SEEK_END)
            while self.start < self.entry.size:
                first = self.start
                for piece in next(fetched):
                    _write(file.write, piece)
                    hasher.update(piece)
                    self.start += len(piece)
                    progress.add(len(piece))
                _begin_writing(file.fileno(), first, self.start - first)
            record = FileRecord.of(os.fstat(file.fileno()))
        if (actual := hasher.hexdigest()) != self.entry.sha256:
            self.path.unlink()
            what = f"{self.key} in the store, or on the way from it, was modified"
            hint = "Pull again; if the error remains, publish the artifact again."
            raise ArtifactError("file_hash", what, expected=f"SHA-256 {self.entry.sha256}", actual=actual, hint=hint)
        return record


def _begin_writing(file: int, start: int, size: int) -> None:
    """Let the system begin to write a part of a file to disk, so that the sync at the end has less to wait for.

    Linux does that if a part is not needed in memory any more.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, start, size, os.POSIX_FADV_DONTNEED)


class _Progress:
    """The number of bytes that are there."""

    def __init__(self, report: Report | None, manifest: Manifest, done: int) -> None:
        self._report, self._done = report, done
        self._total = sum(entry.size for entry in manifest.files.values())
        self.add(0)

    def add(self, size: int) -> None:
        """Count more bytes."""
        self._done += size
        if self._report is not None:
            self._report(self._done, self._total)


def _write(write: Callable[[memoryview], int | None], piece: Piece) -> None:
    """Write all bytes of a piece; an unbuffered file can write fewer."""
    view = memoryview(piece)
    while view:
        view = view[write(view) :]


@contextmanager
def _parts_ahead(source: Source, files: Iterable[_File]) -> Iterator[Iterator[Pieces]]:
    """Yield the pieces of the missing parts of all files in order; at most `IN_FLIGHT` parts are in memory."""
    stopped = threading.Event()
    parts = (
        Part(file.key, start, min(start + PART_BYTES, file.entry.size))
        for file in files
        for start in range(file.start, file.entry.size, PART_BYTES)
    )
    pool = ThreadPoolExecutor(IN_FLIGHT, "onnx-ml-bridge-pull")
    try:
        yield _ahead(pool, parts, lambda part: list(_resumed(source, part, stopped)))
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, parts: Iterator[Part], fetch: Callable[[Part], Pieces]) -> Iterator[Pieces]:
    waiting: deque[Future[Pieces]] = deque(pool.submit(fetch, part) for part in islice(parts, IN_FLIGHT))
    while waiting:
        yield waiting.popleft().result()
        # After the part was written, so that a killed process loses at most `IN_FLIGHT` parts
        waiting.extend(pool.submit(fetch, part) for part in islice(parts, 1))


@contextmanager
def _streams(source: Source, files: Iterable[_File]) -> Iterator[Iterator[Pieces]]:
    """Yield the missing pieces of every file in order, for a server that sends only whole files."""
    missing = (Part(file.key, file.start, file.entry.size) for file in files if file.missing)
    yield (_resumed(source, part, threading.Event()) for part in missing)


def _resumed(source: Source, part: Part, stopped: threading.Event) -> Iterator[Piece]:
    """Yield the pieces of a part; after an error, continue after what was received."""
    position, failures = part.start, 0
    while position < part.end:
        try:
            for piece in source.read(part.key, position, part.end):
                yield piece
                position, failures = position + len(piece), 0
                if stopped.is_set():
                    return
            if position < part.end:
                actual = f"{position} bytes"
                raise StoreError(f"{part.key} in the store is too short", expected=f"{part.end} bytes", actual=actual)
        except StoreError:
            failures += 1
            if failures == _ATTEMPTS or stopped.is_set():
                raise
            time.sleep(0.1 * failures)


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        hint = "Free some space, or set ONNX_ML_BRIDGE_CACHE to a folder of another disk."
        raise OnnxMlBridgeError("io", f"{folder} has no space", expected=f"{size} bytes", actual=free, hint=hint)
