"""What a store needs of the place that holds its files: a folder, a bucket or a web server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """An object below a prefix: its key, its size in bytes, and when it was written, in seconds since 1970."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True)
class Stored:
    """The content of a small object, and what a conditional write compares: the ETag, in folders the content itself."""

    content: bytes
    etag: str


class Reader(Protocol):
    """Reads objects by key. Errors other than a missing object are `StoreError`."""

    @property
    def address(self) -> str:
        """The address of the store without credentials, for messages and for the cache."""

    def get(self, key: str, limit: int) -> Stored | None:
        """Return a small object, None if it is missing.

        :param limit: the maximum size in bytes.
        """

    def read(self, key: str, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes of an object in `[start, end)`, in pieces."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield all objects below `prefix/`, at any depth. Web servers cannot: `StoreError`."""

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix/`, of objects and of common prefixes, sorted."""


class Writer(Reader, Protocol):
    """Reads and writes objects."""

    def put_artifact(self, folder: Path, identity: str, files: Iterable[str]) -> None:
        """Store a sealed artifact completely, or not at all as far as readers see.

        One that is complete is kept, and what is damaged there is repaired.
        """

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write an object that does not exist; false if it exists with another content."""

    def replace(self, key: str, content: bytes, etag: str | None) -> bool:
        """Write an object if its ETag is the given one, or if it is absent for None; false otherwise."""

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whether it exists or not."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Delete what interrupted writes left before a time, in seconds since 1970; return the keys."""

    def delete_artifact(self, identity: str) -> None:
        """Delete the files of an artifact, so that no reader sees a part of them as complete."""
