"""Files of rows: their parts, and what is in memory at a time."""

from __future__ import annotations

import os
import random
import sys

import pytest
from onnx_ml_bridge.artifacts.errors import ConfigError, DependencyError, OnnxMlBridgeError
from onnx_ml_bridge.cli.bulk import source
from onnx_ml_bridge.cli.bulk.part import calls
from onnx_ml_bridge.cli.bulk.source import Row, open_source, read_contents
from onnx_ml_bridge.cli.jsonl import LineFormat, max_line_bytes, parse_text

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
TEXTS = LineFormat(1000, parse_text)


def read(path, part_rows, line_format=TEXTS):
    """The rows of every part: the number, and the entry or the code of the error."""
    contents = read_contents(path, part_rows)
    rows = open_source(contents, ("text",))
    parts = [list(rows.rows(part, line_format)) for part in range(contents.parts)]
    assert sum(map(len, parts)) == contents.rows
    assert all(len(part) == part_rows for part in parts[:-1])
    return [(row.number, row.parsed[1].code if row.parsed[1] else row.parsed[0]) for part in parts for row in part]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_parts_have_all_lines_in_order(tmp_path, monkeypatch, chunk, end):
    monkeypatch.setattr(source, "_CHUNK_BYTES", chunk)
    path = tmp_path / "rows.jsonl"
    for lines in range(10):
        path.write_bytes(b"\n".join(b'"%d"' % line for line in range(lines)) + (end if lines else b""))
        for part_rows in (1, 2, 3, 9, 10, 11):
            assert read(path, part_rows) == [(line + 1, str(line)) for line in range(lines)], (lines, part_rows)


def test_random_files_are_split_at_newlines(tmp_path):
    random.seed(7)
    path = tmp_path / "rows.jsonl"
    for _ in range(200):
        lines = ['"' + "x" * random.choice([0, 1, 50]) + '"' for _ in range(random.randrange(40))]
        path.write_text("".join(f"{line}\n" for line in lines))
        assert [entry for _, entry in read(path, random.randrange(1, 12))] == [line[1:-1] for line in lines]


def test_lines_that_are_invalid_or_too_long_are_rows(tmp_path):
    limit = max_line_bytes(1)
    path = tmp_path / "rows.jsonl"
    fits, long = b'"a"'.ljust(limit), b'"a"'.ljust(limit + 1)
    path.write_bytes(b"\n".join([fits, long, b"", b"{", b"x" * 5000, b'"b"', long]))
    expected = ["a", "input_too_large", "bad_line", "bad_line", "input_too_large", "b", "input_too_large"]
    for part_rows in (1, 2, 7):
        assert [entry for _, entry in read(path, part_rows, LineFormat(1, parse_text))] == expected


def test_a_call_is_bounded_by_rows_and_bytes():
    rows = [Row(number, size, (None, None)) for number, size in enumerate([1, 1, 1, 9, 4, 4, 3, 1])]
    assert [[row.bytes for row in call] for call in calls(rows, 3, 8)] == [[1, 1, 1], [9], [4, 4], [3, 1]]
    assert list(calls([], 3)) == []


def test_memory_does_not_depend_on_the_number_of_rows(tmp_path):
    class Counted:
        """A row whose instances are counted."""

        alive = highest = 0

        def __init__(self, number, size, parsed):
            self.number, self.bytes, self.parsed = number, size, parsed
            Counted.alive += 1
            Counted.highest = max(Counted.highest, Counted.alive)

        def __del__(self):
            Counted.alive -= 1

    highest = []
    for rows in (500, 5000):
        path = tmp_path / f"{rows}.jsonl"
        path.write_text('"text"\n' * rows)
        contents = read_contents(path, 1000)
        assert len(contents.offsets) == contents.parts
        Counted.highest = 0
        lines = open_source(contents, ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "Row", Counted)
            calls_made = [len(call) for part in range(contents.parts) for call in calls(lines.rows(part, TEXTS), 100)]
        assert (max(calls_made), sum(calls_made)) == (100, rows)
        highest.append(Counted.highest)
    assert highest[0] == highest[1] <= 2 * 100 + 1


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="regular file"):
        read_contents(tmp_path / "pipe", 10)


def test_a_file_that_changes_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('"a"\n')
    contents = read_contents(path, 10)
    contents.check_unchanged()
    path.write_text('"a"\n"b"\n')
    with pytest.raises(OnnxMlBridgeError, match="changed while it was read") as changed:
        contents.check_unchanged()
    assert changed.value.code == "io"


def test_a_parquet_file_is_read_by_parts(tmp_path):
    path = tmp_path / "rows.parquet"
    texts = [None if row % 5 == 0 else f"text {row}" for row in range(700)]
    pq.write_table(pa.table({"id": range(700), "text": texts}), path, row_group_size=130)
    expected = [(row + 1, "input_type" if row % 5 == 0 else f"text {row}") for row in range(700)]
    for part_rows in (1, 64, 130, 131, 300, 700, 701):
        assert read(path, part_rows) == expected


def test_parquet_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(OnnxMlBridgeError, match="not a Parquet file") as broken:
        read_contents(path, 10)
    assert broken.value.code == "io"
    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(ConfigError, match="a column text, got id"):
        open_source(read_contents(path, 10), ("text",))


def test_a_missing_pyarrow_is_named(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    path.touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DependencyError, match=r"pip install 'onnx-ml-bridge\[bulk\]'"):
        read_contents(path, 10)
