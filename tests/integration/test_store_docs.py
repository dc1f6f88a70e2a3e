"""docs/store.md: its commands and its example run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from store_files import TINY, laid_out

pytestmark = pytest.mark.families("sentence_embedding")
PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    laid_out(tmp_path / "models", TINY, "latest")
    command = tmp_path / "bin" / "onnx-ml-bridge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m onnx_ml_bridge "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}


def test_the_commands_run(environment: dict[str, str], tmp_path: Path):
    (block,) = re.findall("```console\n(.*?)```", PAGE, re.DOTALL)
    lines = block.replace("/srv/models", str(tmp_path / "models")).splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    expected = [line for line in lines if not line.startswith("$ ")]
    script = "\n".join(["set -e", *commands])
    result = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if line in expected] == expected


def test_the_example_runs(environment: dict[str, str], tmp_path: Path):
    (example,) = re.findall("```python\n(.*?)```", PAGE, re.DOTALL)
    source = "from onnx_ml_bridge import BridgeOptions, Model, OnnxMlBridge\n"
    source += example.replace("/srv/models", str(tmp_path / "models"))
    subprocess.run([sys.executable, "-c", source], env=environment, check=True, timeout=120)
