"""A store in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError
from .backend import Entry, Stored

_PIECE_BYTES = 1 << 20


class FolderBackend:
    """Reads a store in a folder."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Use a folder."""
        self.root = Path(root).absolute()

    @property
    def address(self) -> str:
        """The path of the folder."""
        return str(self.root)

    def get(self, key: str, limit: int) -> Stored | None:
        """Return a small object, None if it is missing."""
        with self._errors(key):
            try:
                with (self.root / key).open("rb") as file:
                    content = file.read(limit + 1)
            except FileNotFoundError:
                return None
        if len(content) > limit:
            raise StoreError(f"{key} is too large", expected=f"at most {limit} bytes")
        return Stored(content, content.hex())

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of an object in `[start, end)`, in pieces."""
        with self._errors(key), (self.root / key).open("rb") as file:
            file.seek(start)
            while piece := file.read(min(_PIECE_BYTES, end - file.tell())):
                yield piece

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield all objects below `prefix/`, at any depth."""
        for parent, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(parent, name)
                status = path.lstat()
                yield Entry(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix/`, sorted."""
        with self._errors(prefix):
            try:
                return sorted(path.name for path in (self.root / prefix).iterdir())
            except FileNotFoundError:
                return []

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot read {key} in the store {self.address}: {error}") from error
