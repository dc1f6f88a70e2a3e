"""Run the Rust command, for tests that compare its answers with those of the originals and of Python."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

# The command reads at most this number of bytes at once.
_READ_BYTES = 1 << 16


def rust_answers(command: Sequence[str], lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return the answers of a command to lines of JSON, one for every line; asserts that no line is refused.

    The command answers together what it has read, which depends on the timing of both processes if the input is a pipe,
    and answers can differ in their last bits with other batches. Here it has a file, of which it reads all at once: a
    long input is divided into several runs.
    """
    answers = []
    for part in _parts(lines):
        with tempfile.TemporaryFile() as file:
            file.write(part)
            file.seek(0)
            done = subprocess.run(command, stdin=file, capture_output=True, check=True)
        answers += [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def _parts(lines: Sequence[str]) -> Iterator[bytes]:
    """Divide lines into parts that the command reads at once; a line that is longer is a part of its own."""
    part = b""
    for line in lines:
        raw = line.encode() + b"\n"
        if part and len(part) + len(raw) > _READ_BYTES:
            yield part
            part = b""
        part += raw
    if part:
        yield part


def rust_ner(binary: Path, artifact: Path, lines: Sequence[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
    """Return the answers of the command `ner`, one for every line; asserts that no line is refused."""
    return rust_answers([str(binary), "ner", "--model", str(artifact), *options], list(map(json.dumps, lines)))


def rust_with_stores() -> Path:
    """Return the Rust command; skips the test if it is missing, or was built without the feature `store-remote`."""
    if (binary := os.environ.get("ONNX_ML_BRIDGE_RUST")) is None:
        pytest.skip("ONNX_ML_BRIDGE_RUST is not set; `make test` builds the command")
    if " pull " not in subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("the Rust command was built without the feature store-remote")
    return Path(binary)


def rust_verify(binary: Path, artifact: Path) -> dict[str, Any]:
    """Return the figures of the command `verify` by variant; asserts that the artifact passes."""
    done = subprocess.run([str(binary), "verify", "--json", str(artifact)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return dict(report["variants"])
