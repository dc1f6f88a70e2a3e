"""Runs over files write the same bytes in Python and in Rust."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from bulk_runs import PYTHON, arguments, contents, kill_and_resume, run, write_rows
from examples import VALID

KILLS = int(os.environ.get("ONNX_ML_BRIDGE_KILLS", "20"))
ROWS = int(os.environ.get("ONNX_ML_BRIDGE_ROWS", "300"))
PART_ROWS = 10


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)
    with path.open("ab") as file:
        file.write(b'\xff\n\n"' + b"x" * 70 + b'"\n"the end"')
    return path


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """The files of a run of Python that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert run(PYTHON, rows, folder, "--part-rows", PART_ROWS, "--text-limit", 50).returncode == 1
    return contents(folder)


def on_rust(rust, rows, folder, *options):
    return arguments([str(rust)], rows, folder, "--part-rows", PART_ROWS, "--text-limit", 50, *options)


def ranking_lines(path: Path) -> Path:
    lines = [{"query": f"cat {row}", "documents": ["the cat", f"a dog {row}", "x"]} for row in range(60)]
    path.write_text("".join(f"{json.dumps(line) if line['query'] != 'cat 7' else '{}'}\n" for line in lines))
    return path


def test_rows_with_dimensions_write_the_same_bytes(rust, tmp_path):
    rows = [{"text": f"the cat {row}", "dimensions": (4, 8, 5, "4")[row % 4]} for row in range(40)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(f"{json.dumps(line)}\n" for line in [*rows, "the dog"]))
    outputs = []
    for program in (PYTHON, [str(rust)]):
        out = tmp_path / f"out{len(outputs)}"
        line = [*program, "embed", "--model", VALID / "tiny-matryoshka", "--dimensions", "8", "--variant", "fp32"]
        line += ["--input", source, "--output", out, "--part-rows", "15"]
        assert subprocess.run(line, capture_output=True, check=False).returncode == 1
        outputs.append(contents(out))
    assert outputs[0] == outputs[1]
    written = [json.loads(line) for name, raw in sorted(outputs[0].items()) if "part" in name for line in raw.split()]
    found = [answer["error"]["code"] if "error" in answer else len(answer["embedding"]) for answer in written]
    assert found == [4, 8, "config", "input_type"] * 10 + [8]


@pytest.mark.parametrize(
    ("command", "model"),
    [("ner", "tiny-spacy"), ("summarize", "tiny-summary"), ("rerank", "tiny-rerank"), ("ner", "tiny-ner")],
)
def test_other_tasks_write_the_same_bytes(rust, command, model, tmp_path):
    source = tmp_path / "rows.jsonl"
    ranking_lines(source) if command == "rerank" else write_rows(source, 40)
    outputs = []
    for program in (PYTHON, [str(rust)]):
        out = tmp_path / f"out{len(outputs)}"
        line = [*program, command, "--model", VALID / model, "--input", source, "--output", out, "--part-rows", "15"]
        assert subprocess.run(line, capture_output=True, check=False).returncode == 1
        outputs.append(contents(out))
    python, in_rust = outputs
    if model == "tiny-ner":  # NumPy and the standard library of Rust round exp differently
        scores = [scores_of(files) for files in (python, in_rust)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5) and scores[0]
        python, in_rust = without_scores(python), without_scores(in_rust)
    assert python == in_rust and len(python) > 2


def parts_of(files):
    return {name: [json.loads(line) for line in raw.splitlines()] for name, raw in files.items() if "part" in name}


def scores_of(files):
    lines = [line for part in parts_of(files).values() for line in part]
    return [entity["score"] for line in lines for entity in line.get("entities", [])]


def without_scores(files):
    parts = parts_of(files)
    for entity in (entity for part in parts.values() for line in part for entity in line.get("entities", [])):
        del entity["score"]
    return parts


def test_embeddings_are_the_same_bytes_also_after_kills(rust, rows, whole, tmp_path):
    folder = tmp_path / "out"
    started = time.monotonic()
    assert subprocess.run(on_rust(rust, rows, folder), capture_output=True, check=False).returncode == 1
    seconds = time.monotonic() - started
    assert contents(folder) == whole
    shutil.rmtree(folder)
    for _ in kill_and_resume(on_rust(rust, rows, folder, "--resume"), folder, KILLS, seconds):
        assert contents(folder) == whole


def test_one_language_resumes_the_run_of_the_other(rust, rows, whole, tmp_path):
    run(PYTHON, rows, tmp_path, "--part-rows", PART_ROWS, "--text-limit", 50)
    for part in (0, 7, 30):
        (tmp_path / f"part-{part:08d}.jsonl").unlink()
    done = subprocess.run(on_rust(rust, rows, tmp_path, "--resume"), capture_output=True, text=True, check=False)
    assert (done.returncode, contents(tmp_path)) == (1, whole), done.stderr
    done = subprocess.run(on_rust(rust, rows, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 5 and done.stderr.startswith("error[config]: ") and "--resume" in done.stderr
    with rows.open("ab") as file:
        file.write(b"\n")
    try:
        done = subprocess.run(on_rust(rust, rows, tmp_path, "--resume"), capture_output=True, text=True, check=False)
        assert done.returncode == 5 and "input_sha256 was" in done.stderr
    finally:
        rows.write_bytes(rows.read_bytes()[:-1])


def test_sigterm_finishes_the_part_and_says_so(rust, rows, whole, tmp_path):
    with subprocess.Popen(on_rust(rust, rows, tmp_path), stderr=-1, text=True) as process:
        while not (tmp_path / "part-00000000.jsonl").exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(60)
    if process.returncode != 6:
        pytest.skip("the run ended before the signal")
    parts = len(contents(tmp_path)) - 1
    assert errors.startswith("stopped by a signal: ") and f" are in {parts} part" in errors
    assert errors.endswith("; continue with --resume\n")
    assert json.loads((tmp_path / "state.json").read_bytes())["status"] == "stopped"
    subprocess.run(on_rust(rust, rows, tmp_path, "--resume"), capture_output=True, check=False)
    assert contents(tmp_path) == whole


def test_a_full_disk_is_an_error_and_leaves_no_half_written_file(rust, rows, whole, tmp_path):
    limit = max(len(text) for name, text in whole.items() if name != "state.json") - 1
    code = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); os.execv(sys.argv[1], sys.argv[1:])"
    )
    line = [PYTHON[0], "-c", code, *on_rust(rust, rows, tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 5 and done.stderr.startswith("error[io]: "), done.stderr
    partial = contents(tmp_path)
    assert 0 < len(partial) < len(whole)
    assert all(whole[name] == text for name, text in partial.items() if name != "state.json")
    subprocess.run(on_rust(rust, rows, tmp_path, "--resume"), capture_output=True, check=False)
    assert contents(tmp_path) == whole
