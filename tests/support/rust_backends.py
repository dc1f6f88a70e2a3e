"""Runs the crate's example `backends`, which answers requests with the models of a bridge.toml."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = os.environ.get("ONNX_ML_BRIDGE_RUST_BACKENDS")
needs_program = pytest.mark.skipif(PROGRAM is None, reason="ONNX_ML_BRIDGE_RUST_BACKENDS is an example of the crate")


def rust(config: Path, *requests: dict[str, Any]) -> list[Any]:
    """Return the answers of the crate."""
    assert PROGRAM is not None
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROGRAM, str(config)], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
