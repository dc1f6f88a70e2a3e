"""Read rows from Parquet and write answers as Parquet, with the extra [bulk]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ...artifacts.errors import ConfigError, DependencyError, InputError, OnnxMlBridgeError
from ..jsonl import Answered, LineFormat
from .source import Contents, Row
from .task import RowTask

# The number of rows that are decoded at a time
_BATCH_ROWS = 256


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file.

    :raises DependencyError: if pyarrow is not installed.
    :raises OnnxMlBridgeError: with the code `io` if it is not a Parquet file.
    """
    with _open(path) as file:
        return int(file.metadata.num_rows)


class ParquetSource:
    """Reads rows of a Parquet file; decodes one row group of the columns of a task at a time."""

    def __init__(self, contents: Contents, keys: tuple[str, ...]) -> None:
        """Find the columns.

        :raises ConfigError: if the file has none of them.
        """
        self._contents = contents
        with _open(contents.path) as file:
            names = file.schema_arrow.names
            groups = range(file.metadata.num_row_groups)
            self._group_rows = [file.metadata.row_group(group).num_rows for group in groups]
        self._columns = [key for key in keys if key in names]
        if not self._columns:
            raise ConfigError("--input", expected=f"a column {' or '.join(keys)}", actual=", ".join(names))

    def rows(self, part: int, line_format: LineFormat[Any]) -> Iterator[Row]:
        """Yield the rows of a part; see `Source`. A null is a key that the row does not have."""
        first = part * self._contents.part_rows
        last = min(first + self._contents.part_rows, self._contents.rows)
        groups, start = self._groups(first, last)
        with _open(self._contents.path) as file:
            number = start
            for batch in _batches(self._contents.path, file, row_groups=groups, columns=self._columns):
                skipped = min(max(first - number, 0), batch.num_rows)
                number += skipped
                for value in _decoded(batch.slice(skipped, max(last - number, 0))):
                    number += 1
                    yield _row(number, value, line_format)
                if number >= last:
                    return

    def _groups(self, first: int, last: int) -> tuple[list[int], int]:
        """Return the row groups with the rows from `first` to `last`, and the first row of these groups."""
        groups: list[int] = []
        start, row = first, 0
        for group, rows in enumerate(self._group_rows):
            if row < last and row + rows > first:
                start = start if groups else row
                groups.append(group)
            row += rows
        return groups, start


def _batches(path: Path, file: Any, **options: Any) -> Iterator[Any]:
    """Yield the batches of an open file.

    :raises OnnxMlBridgeError: with the code `io` if the file is damaged.
    """
    import pyarrow

    batches = file.iter_batches(_BATCH_ROWS, **options)
    while True:
        try:
            batch = next(batches, None)
        except (pyarrow.ArrowException, OSError) as error:
            raise OnnxMlBridgeError("io", f"{path} cannot be read: {error}") from error
        if batch is None:
            return
        yield batch


def _decoded(batch: Any) -> list[dict[str, Any] | InputError]:
    """Return the rows of a batch as Python objects, or the error of a row with a value that has no such object."""
    import pyarrow

    try:
        return list(batch.to_pylist())
    except (pyarrow.ArrowException, ValueError, ArithmeticError, LookupError, TypeError) as error:
        if batch.num_rows == 1:
            return [InputError("bad_line", f"a value cannot be read: {error}")]
    return [value for row in range(batch.num_rows) for value in _decoded(batch.slice(row, 1))]


def _row(number: int, value: dict[str, Any] | InputError, line_format: LineFormat[Any]) -> Row:
    if isinstance(value, InputError):
        return Row(number, 0, (None, value))
    fields = {key: field for key, field in value.items() if field is not None}
    size = sum(_size(field) for field in fields.values())
    try:
        return Row(number, size, (line_format.parse(fields, line_format.text_limit), None))
    except InputError as error:
        return Row(number, size, (None, error))


def _size(field: Any) -> int:
    if isinstance(field, list):
        return sum(_size(item) for item in field)
    return len(field) if isinstance(field, str) else 8


class ParquetSink:
    """Writes the answers of a part as Parquet: the columns of the task, and `error`, which is null for an answer."""

    def __init__(self, task: RowTask[Any, Any], file: IO[bytes]) -> None:
        """Create the writer."""
        import pyarrow
        import pyarrow.parquet

        error = pyarrow.struct([("code", pyarrow.string()), ("line", pyarrow.int64())])
        self._schema = pyarrow.schema(list({**task.columns(pyarrow), "error": error}.items()))
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)
        self._task = task

    def add(self, answers: Iterable[Answered[Any, Any]]) -> None:
        """Write a row group with one row for each answer."""
        import pyarrow

        records = [self._task.output_row(answer) for answer in answers]
        arrays = [
            pyarrow.array([record.get(column.name) for record in records], column.type) for column in self._schema
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def failed_rows(path: Path) -> int:
    """Return how many rows of a part failed."""
    with _open(path) as file:
        return sum(
            batch.num_rows - int(batch.column(0).null_count) for batch in _batches(path, file, columns=["error"])
        )


def _open(path: Path) -> Any:
    """Open a Parquet file without mapping it into memory."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        hint = "Install it: pip install 'onnx-ml-bridge[bulk]'"
        raise DependencyError("Parquet files require pyarrow", hint=hint) from error
    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
    except pyarrow.ArrowInvalid as error:
        raise OnnxMlBridgeError("io", f"{path} is not a Parquet file: {error}") from error
