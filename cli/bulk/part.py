"""Write the part of an output: the answers to a range of rows, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Protocol

from ...artifacts.new_file import new_file
from ..jsonl import Answered, LineError, answer_entries, json_line
from .source import Contents, Row, Source, is_parquet
from .task import RowTask

# Limit on the size of the input rows of one call in bytes. A larger row is a call of its own.
_CALL_BYTES = 1 << 20
# The start of the output line of a row that failed
_FAILED = b'{"error":'


class Sink(Protocol):
    """A file to which the answers of a part are added."""

    def add(self, answers: Iterable[Answered[Any, Any]]) -> None:
        """Add answers."""

    def close(self) -> None:
        """Write what is missing at the end."""


def part_path(folder: Path, part: int, source: Path) -> Path:
    """Return the path of a part; sorted by name, parts have the order of their rows."""
    return folder / f"part-{part:08d}.{'parquet' if is_parquet(source) else 'jsonl'}"


def process_part(task: RowTask[Any, Any], source: Source, contents: Contents, part: int, folder: Path) -> int:
    """Answer the rows of a part and write them; returns the number of rows that failed.

    The file has its name only when it is complete and on disk.

    :raises OSError: if the input cannot be read or the output cannot be written.
    :raises OnnxMlBridgeError: for an error of all rows, such as a missing library, or an input that was changed.
    """
    failed = 0
    with new_file(part_path(folder, part, contents.path)) as file, closing(_sink(task, contents, file)) as sink:
        for rows in calls(source.rows(part, task.line_format), task.max_rows):
            answers = answer_entries(task.answer, [(row.number, row.parsed) for row in rows])
            failed += sum(isinstance(answer, LineError) for answer in answers)
            sink.add(answers)
        contents.check_unchanged()
    return failed


def calls(rows: Iterable[Row], max_rows: int, max_bytes: int = _CALL_BYTES) -> Iterator[list[Row]]:
    """Group rows into calls of at most `max_rows` rows and `max_bytes` bytes; a larger row is alone."""
    call: list[Row] = []
    size = 0
    for row in rows:
        if call and (len(call) == max_rows or size + row.bytes > max_bytes):
            yield call
            call, size = [], 0
        call.append(row)
        size += row.bytes
    if call:
        yield call


def failed_rows(path: Path) -> int:
    """Return how many rows of a part failed."""
    if is_parquet(path):
        from .parquet import failed_rows as failed_parquet_rows

        return failed_parquet_rows(path)
    with path.open("rb") as file:
        return sum(line.startswith(_FAILED) for line in file)


class JsonSink:
    """Writes answers as JSON lines."""

    def __init__(self, task: RowTask[Any, Any], file: IO[bytes]) -> None:
        """Store the file."""
        self._task = task
        self._file = file

    def add(self, answers: Iterable[Answered[Any, Any]]) -> None:
        """Write one line for each answer."""
        self._file.writelines(json_line(self._task.output_row(answer)) for answer in answers)

    def close(self) -> None:
        """Do nothing: all lines are written."""


def _sink(task: RowTask[Any, Any], contents: Contents, file: IO[bytes]) -> Sink:
    if is_parquet(contents.path):
        from .parquet import ParquetSink

        return ParquetSink(task, file)
    return JsonSink(task, file)
