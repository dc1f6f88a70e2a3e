"""The command when its input stays open, or when its output is full, closed or missing."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from examples import VALID

TINY = VALID / "tiny-embedding"
COMMAND = [sys.executable, "-m", "onnx_ml_bridge"]
EMBED = [*COMMAND, "embed", "--model", str(TINY)]
FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


@needs_full_device
def test_a_full_disk_is_reported_while_stdin_is_open():
    with FULL.open("wb") as full, subprocess.Popen(EMBED, stdin=-1, stdout=full, stderr=-1) as process:
        process.stdin.write(b'"hi"\n')
        process.stdin.flush()
        status, errors = process.wait(60), process.stderr.read().decode()
    assert (status, errors.count("\n")) == (5, 1), errors
    assert errors.startswith("error[io]: ")


def test_a_closed_pipe_ends_the_command_while_stdin_is_open():
    with subprocess.Popen(EMBED, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdin.write(b'"hi"\n')
        process.stdin.flush()
        assert "embedding" in json.loads(process.stdout.readline())
        process.stdout.close()
        process.stdin.write(b'"ho"\n')
        process.stdin.flush()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


@needs_full_device
@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["verify"], ["verify", "--json"]])
def test_other_commands_report_a_full_disk(arguments):
    with FULL.open("wb") as full:
        done = subprocess.run([*COMMAND, *arguments, TINY], stdout=full, stderr=-1, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1), done.stderr
    assert done.stderr.startswith("error[io]: ")


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["verify"]])
def test_other_commands_end_quietly_on_a_closed_pipe(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments, TINY], stdout=writer, stderr=-1, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_streams_are_empty():
    shell = f"exec '{sys.executable}' -m onnx_ml_bridge embed --model '{TINY}'"
    for redirection in ("<&-", ">&-", "<&- >&- 2>&-"):
        done = subprocess.run(["/bin/sh", "-c", f"{shell} {redirection}"], input=b'"hi"\n', stderr=-1, check=False)
        assert (done.returncode, done.stderr) == (0, b""), redirection


def test_a_line_of_a_terminal_is_answered_immediately():
    controller, terminal = pty.openpty()
    with subprocess.Popen(EMBED, stdin=terminal, stdout=-1) as process:
        os.close(terminal)
        for _ in range(2):
            os.write(controller, b'"hi"\n')
            assert "embedding" in json.loads(process.stdout.readline())
        os.write(controller, b"\x04")  # the end of the input
        assert process.wait(60) == 0
    os.close(controller)


def test_a_nonblocking_stdin_is_read_to_its_end():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with subprocess.Popen(EMBED, stdin=reader, stdout=-1) as process:
        os.close(reader)
        for part in (b'"h', b'i"\n', b'"ho"'):
            os.write(writer, part)
            time.sleep(0.5)
        os.close(writer)
        assert process.stdout.read().count(b"embedding") == 2
        assert process.wait(60) == 0


def test_the_lines_of_a_file_are_processed_together(tmp_path):
    lines = tmp_path / "lines"
    lines.write_bytes(b'"hi"\n' * 300)
    code = (
        "from onnx_ml_bridge.cli.jsonl import LineFormat, parse_text, print_answers\n"
        "sizes = []\n"
        "print_answers(lambda texts: sizes.append(len(texts)) or texts, LineFormat(9, parse_text),"
        " lambda *_: b'', lambda _: b'')\n"
        "print(max(sizes), sum(sizes))\n"
    )
    with lines.open("rb") as stdin:
        done = subprocess.run([sys.executable, "-c", code], stdin=stdin, stdout=-1, check=True)
    largest, total = map(int, done.stdout.split())
    assert (largest > 1, total) == (True, 300)
