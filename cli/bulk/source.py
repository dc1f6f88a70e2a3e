"""Read ranges of rows of a file of JSON lines or Parquet."""

from __future__ import annotations

import hashlib
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from ...artifacts.errors import ConfigError, OnnxMlBridgeError
from ..jsonl import LineFormat, Parsed, max_line_bytes, parsed_line

_CHUNK_BYTES = 1 << 20
_NEWLINE = ord("\n")


@dataclass(frozen=True)
class Contents:
    """A file as it was when a run started: its size, its SHA-256, its time of modification, and its rows.

    `offsets` has the byte offset of the first row of every part of a file of JSON lines; it is empty for Parquet.
    """

    path: Path
    bytes: int
    sha256: str
    modified: int
    rows: int
    part_rows: int
    offsets: array[int]

    @property
    def parts(self) -> int:
        """The number of parts: ranges of `part_rows` rows, the last of which may be shorter."""
        return -(-self.rows // self.part_rows)

    def check_unchanged(self) -> None:
        """Compare size and time of modification with those of the file now.

        :raises OnnxMlBridgeError: with the code `io` if the file was changed.
        """
        now = self.path.stat()
        if (now.st_size, now.st_mtime_ns) != (self.bytes, self.modified):
            raise OnnxMlBridgeError(
                "io", f"{self.path} was changed while it was read", hint="Choose another --output and start again."
            )


@dataclass(frozen=True)
class Row:
    """A row that was parsed: its number, which starts at 1, its size in bytes, and its entry or error."""

    number: int
    bytes: int
    parsed: Parsed[Any]


class Source(Protocol):
    """A file whose parts can be read."""

    def rows(self, part: int, line_format: LineFormat[Any]) -> Iterator[Row]:
        """Yield the rows of a part in order, one at a time.

        :raises OSError: if the file cannot be read.
        """


def is_parquet(path: Path) -> bool:
    """Return whether the name of a file is that of a Parquet file."""
    return path.suffix.lower() == ".parquet"


def read_contents(path: Path, part_rows: int) -> Contents:
    """Read a file once, for its hash, its rows and the offsets of its parts.

    :raises ConfigError: if it is not a regular file, because it is read several times.
    :raises OSError: if it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("--input", expected="a regular file", actual=str(path))
    hasher, scan = hashlib.sha256(), _Scan(part_rows)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            scan.add(chunk)
    if is_parquet(path):
        from .parquet import count_rows

        rows, offsets = count_rows(path), array("Q")
    else:
        rows, offsets = scan.end()
    contents = Contents(path, status.st_size, hasher.hexdigest(), status.st_mtime_ns, rows, part_rows, offsets)
    contents.check_unchanged()
    return contents


def open_source(contents: Contents, keys: tuple[str, ...]) -> Source:
    """Return the reader of a file.

    :param keys: the keys of a row; of the columns of a Parquet file only these are read.
    """
    if is_parquet(contents.path):
        from .parquet import ParquetSource

        return ParquetSource(contents, keys)
    return JsonSource(contents)


class JsonSource:
    """Reads a file of JSON lines; holds one line at a time."""

    def __init__(self, contents: Contents) -> None:
        """Store the file and the offsets of its parts."""
        self._contents = contents

    def rows(self, part: int, line_format: LineFormat[Any]) -> Iterator[Row]:
        """Yield the rows of a part; see `Source`."""
        first = part * self._contents.part_rows
        last = min(first + self._contents.part_rows, self._contents.rows)
        limit = max_line_bytes(line_format.text_limit)
        with self._contents.path.open("rb") as file:
            file.seek(self._contents.offsets[part])
            for number in range(first + 1, last + 1):
                raw = _next_line(file, limit)
                yield Row(number, limit if raw is None else len(raw), parsed_line(raw, line_format))


def _next_line(file: IO[bytes], limit: int) -> bytes | None:
    """Return the next line without its newline; None for a longer line, which is skipped without being stored."""
    line = file.readline(limit + 1)
    if line.endswith(b"\n"):
        return line[:-1]
    if len(line) <= limit:
        return line
    while line and not line.endswith(b"\n"):
        line = file.readline(_CHUNK_BYTES)
        if line == b"\n":
            break
    return None


class _Scan:
    """Counts lines, and finds the offset of the first line of every part."""

    def __init__(self, part_rows: int) -> None:
        self._part_rows = part_rows
        self._lines = 0
        self._bytes = 0
        self._is_open = False  # whether the last line has no newline
        self._starts = array("Q", [0])

    def add(self, chunk: bytes) -> None:
        count = chunk.count(b"\n")
        next_part = self._part_rows * len(self._starts)
        if self._lines + count >= next_part:
            ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE)
            chosen = ends[next_part - self._lines - 1 :: self._part_rows]
            self._starts.extend(int(end) + 1 + self._bytes for end in chosen)
        self._lines += count
        self._bytes += len(chunk)
        self._is_open = not chunk.endswith(b"\n")

    def end(self) -> tuple[int, array[int]]:
        """Return the number of lines, and the offset of every part."""
        rows = self._lines + self._is_open
        del self._starts[-(-rows // self._part_rows) :]
        return rows, self._starts
