"""Runs over files: interrupted, resumed, refused, and on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bulk_runs import PYTHON, TINY, arguments, contents, kill_and_resume, run, write_rows
from examples import VALID
from onnx_ml_bridge.cli.bulk.run import StopSignal

KILLS = int(os.environ.get("ONNX_ML_BRIDGE_KILLS", "20"))
ROWS = int(os.environ.get("ONNX_ML_BRIDGE_ROWS", "600"))
PART_ROWS = 10


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """The files of a run that was not interrupted, and its seconds."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    started = time.monotonic()
    done = run(PYTHON, rows, folder, "--part-rows", PART_ROWS)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return contents(folder), time.monotonic() - started


def test_the_parts_are_the_lines_of_stdin_in_order(rows, whole):
    with rows.open("rb") as stdin:
        done = subprocess.run([*PYTHON, "embed", "--model", TINY], stdin=stdin, stdout=-1, check=False)
    files, _ = whole
    assert len(files) == -(-ROWS // PART_ROWS) + 1
    for name in files:
        assert name == "state.json" or name.startswith("part-")
    lines = b"".join(files[name] for name in files if name != "state.json").splitlines()
    for line, expected in zip(map(json.loads, lines), map(json.loads, done.stdout.splitlines()), strict=True):
        expected.get("error", {}).pop("message", None)
        vector = expected.pop("embedding", [])
        assert line.pop("embedding", []) == pytest.approx(vector, abs=1e-6)  # the batches differ
        assert line == expected
    state = json.loads(files["state.json"])
    assert (state["status"], state["rows"], state["failed"]) == ("complete", ROWS, -(-ROWS // 10))


def test_killed_runs_are_resumed_byte_for_byte(rows, whole, tmp_path):
    files, seconds = whole
    folder = tmp_path / "out"
    line = arguments(PYTHON, rows, folder, "--part-rows", PART_ROWS, "--resume")
    interrupted = 0
    for distinct in kill_and_resume(line, folder, KILLS, seconds):
        assert contents(folder) == files
        interrupted = distinct
    assert interrupted > 2, "the kills interrupted too few runs between two parts"


def test_sigterm_finishes_the_part_and_says_so(tmp_path):
    # So many that the signal comes before the end: other parts are written meanwhile
    count, out = 6_000, tmp_path / "out"
    rows = write_rows(tmp_path / "rows.jsonl", count)
    line = arguments(PYTHON, rows, out, "--part-rows", PART_ROWS)
    with subprocess.Popen(line, stderr=-1, text=True) as process:
        while process.poll() is None and not (out / "part-00000002.jsonl").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(60)
    assert process.returncode == 6, errors
    files = contents(out)
    parts = len(files) - 1
    assert 3 <= parts < count / PART_ROWS
    rows_done = parts * PART_ROWS
    assert errors == f"stopped by SIGTERM: {rows_done} of {count} rows are in {parts} parts; continue with --resume\n"
    assert json.loads(files["state.json"])["status"] == "stopped"
    assert run(PYTHON, rows, out, "--part-rows", PART_ROWS, "--resume").returncode == 1
    assert run(PYTHON, rows, tmp_path / "whole", "--part-rows", PART_ROWS).returncode == 1
    assert contents(out) == contents(tmp_path / "whole")


def test_only_missing_parts_are_processed(rows, whole, tmp_path):
    run(PYTHON, rows, tmp_path, "--part-rows", PART_ROWS)
    (tmp_path / "part-00000003.jsonl").unlink()
    (tmp_path / ".part-00000009.jsonl.00.tmp").touch()
    kept = {path.name: path.stat().st_ino for path in tmp_path.glob("part-*")}
    assert run(PYTHON, rows, tmp_path, "--part-rows", PART_ROWS, "--resume").returncode == 1
    assert contents(tmp_path) == whole[0]
    for name, inode in kept.items():
        assert (tmp_path / name).stat().st_ino == inode


def refused(done, *texts):
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error[config]: ")
    for text in texts:
        assert text in done.stderr


def test_a_changed_input_or_artifact_is_not_resumed(rows, tmp_path):
    source, model = tmp_path / "rows.jsonl", tmp_path / "model"
    shutil.copy(rows, source)
    shutil.copytree(TINY, model)
    out = tmp_path / "out"
    assert run(PYTHON, source, out).returncode == 1
    before = contents(out)
    refused(run(PYTHON, source, out), "--resume")
    refused(run(PYTHON, source, out, "--resume", "--part-rows", 5), "part_rows was 1024 and is 5")
    auto = json.loads((out / "state.json").read_text())["variant"]  # depends on the CPU
    other = {"int8": "fp32", "fp32": "int8"}[auto]
    refused(run(PYTHON, source, out, "--resume", "--variant", other), f"variant was '{auto}' and is '{other}'")
    text = source.read_text()
    source.write_text(text.replace("cat 1 ", "dog 1 "))
    refused(run(PYTHON, source, out, "--resume"), "input_sha256 was")
    source.write_text(text + '"more"\n')
    refused(run(PYTHON, source, out, "--resume"), "input_bytes was", f"rows was {ROWS} and is {ROWS + 1}")
    source.write_text(text)
    assert run(PYTHON, source, out, "--resume").returncode == 1
    assert contents(out) == before


@pytest.mark.families("gliner")
def test_an_option_that_is_not_given_again_is_a_difference(tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    source.write_text('"the big man & saw a big house near Paris"\n' * 4)

    def ner(*options: str) -> subprocess.CompletedProcess[str]:
        line = ["ner", "--model", str(VALID / "tiny-gliner"), "--input", str(source), "--output", str(out), *options]
        return subprocess.run([*PYTHON, *line], capture_output=True, text=True, check=False)

    assert ner("--threshold", "0.1", "--nested").returncode == 0
    before = contents(out)
    refused(ner("--resume"), "threshold was 0.1 and is not given", "nested was True and is not given")
    refused(ner("--resume", "--threshold", "0.1", "--nested", "--multi-label"), "multi_label was not given and is True")
    assert contents(out) == before
    assert ner("--resume", "--threshold", "0.1", "--nested").returncode == 0


def test_only_files_of_the_run_are_removed(tmp_path):
    source = write_rows(tmp_path / ".rows.tmp", 3)
    (tmp_path / "out").mkdir()
    for name in (".notes.tmp", "state.json.tmp"):
        (tmp_path / "out" / name).touch()
    refused(run(PYTHON, source, tmp_path / "out"), "a new or empty folder")
    for name in (".part-00000000.jsonl.0a.tmp", ".state.json.0a.tmp"):
        (tmp_path / "out2").mkdir(exist_ok=True)
        (tmp_path / "out2" / name).touch()
    assert run(PYTHON, source, tmp_path / "out2").returncode == 1
    assert sorted(contents(tmp_path / "out2")) == ["part-00000000.jsonl", "state.json"]
    assert (tmp_path / "out" / ".notes.tmp").exists()


@pytest.mark.parametrize("option", ["--text-limit", "--part-rows"])
def test_a_number_that_the_state_cannot_keep_is_refused(option, tmp_path):
    source = write_rows(tmp_path / "rows.jsonl", 3)
    done = run(PYTHON, source, tmp_path / "out", option, 2**53 + 1)
    refused(done, option[2:].replace("-", "_"), f"at most {2**53}")
    assert contents(tmp_path / "out") == {}
    assert run(PYTHON, source, tmp_path / "out", option, 2**53).returncode == 1
    assert run(PYTHON, source, tmp_path / "out", option, 2**53, "--resume").returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_messages_that_cannot_be_written_do_not_change_the_exit_status(tmp_path):
    (tmp_path / "one.jsonl").write_text('"cat"\n')
    lines = (
        (arguments(PYTHON, tmp_path / "one.jsonl", tmp_path / "out"), 0),
        ([*PYTHON, "embed", "--model", str(tmp_path / "absent")], 3),
    )
    for line, status in lines:
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            assert subprocess.run(line, stderr=full, stdin=subprocess.DEVNULL, check=False).returncode == status


def test_a_second_signal_of_any_kind_ends_the_process():
    with StopSignal().listening() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.name == "SIGTERM"
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_full_disk_is_an_error_and_leaves_no_half_written_file(rows, whole, tmp_path):
    files, _ = whole
    limit = max(len(text) for name, text in files.items() if name != "state.json") - 1
    line = arguments(PYTHON, rows, tmp_path, "--part-rows", PART_ROWS)
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "sys.argv = sys.argv[1:]; runpy.run_module('onnx_ml_bridge', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code, "onnx-ml-bridge", *line[3:]], stderr=-1, text=True, check=False)
    assert done.returncode == 5 and done.stderr.startswith("error[io]: "), done.stderr
    partial = contents(tmp_path)
    assert 0 < len(partial) < len(files)
    assert all(files[name] == text for name, text in partial.items() if name != "state.json")
    assert run(PYTHON, rows, tmp_path, "--part-rows", PART_ROWS, "--resume").returncode == 1
    assert contents(tmp_path) == files


@pytest.mark.parametrize(
    "options",
    [["--resume"], ["--output", "out"], ["--part-rows", "5"], ["--ray", "local"], ["--input", "rows.jsonl"]],
)
def test_options_that_require_others_are_wrong_usage(options):
    done = subprocess.run([*PYTHON, "embed", "--model", TINY, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "requires" in done.stderr


def test_a_file_without_rows_is_complete(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    done = run(PYTHON, tmp_path / "empty.jsonl", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "0 rows in 0 parts, 0 failed\n")
    assert list(contents(tmp_path / "out")) == ["state.json"]


def test_one_row_and_one_part_are_counted_in_the_singular(tmp_path):
    (tmp_path / "one.jsonl").write_text('"cat"\n')
    assert run(PYTHON, tmp_path / "one.jsonl", tmp_path / "out").stderr == "1 row in 1 part, 0 failed\n"


def test_parquet_has_the_answers_of_json_lines(rows, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = [json.loads(line) for line in rows.read_bytes().splitlines()]
    column = [text if isinstance(text, str) else None for text in texts]
    table = pyarrow.table({"id": range(ROWS), "text": column})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=130)
    assert run(PYTHON, tmp_path / "rows.parquet", tmp_path / "out", "--part-rows", 100).returncode == 1
    run(PYTHON, rows, tmp_path / "lines", "--part-rows", 100)
    answers = [
        {key: value for key, value in row.items() if value is not None}
        for path in sorted((tmp_path / "out").glob("part-*.parquet"))
        for row in parquet.ParquetFile(path).read().to_pylist()
    ]
    lines = [json.loads(line) for path in sorted((tmp_path / "lines").glob("part-*")) for line in path.open()]
    assert len(answers) == len(lines) == ROWS
    for answer, line in zip(answers, lines, strict=True):
        assert answer.pop("embedding", []) == pytest.approx(line.pop("embedding", []), abs=1e-7)
        assert answer.get("truncated") == line.get("truncated")
        assert ("error" in answer) == ("error" in line)
    assert answers[0] == {"error": {"code": "input_type", "line": 1}}
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "part-00000002.parquet").unlink()
    run(PYTHON, tmp_path / "rows.parquet", tmp_path / "out", "--part-rows", 100, "--resume")
    assert contents(tmp_path / "out") == before


def test_values_of_parquet_that_python_does_not_have_are_errors_of_their_rows(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = pyarrow.array([b"the cat", b"\xff\xfe", b"runs"])
    invalid = pyarrow.Array.from_buffers(pyarrow.string(), 3, texts.buffers())
    for name, column, codes in (
        ("text", invalid, [None, "bad_line", None]),
        ("times", pyarrow.array([1, 2], pyarrow.timestamp("ns")), ["bad_line", "bad_line"]),
    ):
        parquet.write_table(pyarrow.table({"text": column}), tmp_path / f"{name}.parquet")
        done = run(PYTHON, tmp_path / f"{name}.parquet", tmp_path / name)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        errors = parquet.read_table(tmp_path / name / "part-00000000.parquet").column("error").to_pylist()
        assert [error and error["code"] for error in errors] == codes


def test_a_damaged_page_of_parquet_is_an_error(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [f"the cat {row} runs" for row in range(100)]}), path)
    data = bytearray(path.read_bytes())
    data[60:200] = b"\xff" * 140
    path.write_bytes(data)
    done = run(PYTHON, path, tmp_path / "out")
    assert done.returncode == 5 and done.stderr.startswith("error[io]: "), done.stderr
    assert "Traceback" not in done.stderr and "ParquetWriter" not in done.stderr
