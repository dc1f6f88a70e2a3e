"""Run the Rust command, for tests that compare its answers with those of the originals and of Python."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def rust_ner(binary: Path, artifact: Path, lines: Sequence[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
    """Return the answers of the command `ner`, one for every line; asserts that no line is refused."""
    done = subprocess.run(
        [str(binary), "ner", "--model", str(artifact), *options],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


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
