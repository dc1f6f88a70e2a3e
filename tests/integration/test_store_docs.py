"""The commands and the code of docs/store.md run in their order, with small artifacts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from store_files import sealed_version

PAGE = (Path(__file__).parents[2] / "docs/store.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = [
    pytest.mark.families("sentence_embedding"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def test_its_blocks_run(tmp_path):
    for version in ("1.0.0", "1.1.0"):
        sealed_version(tmp_path / "dist" / f"minilm-{version}", version, name="minilm")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ONNX_ML_BRIDGE_CACHE": str(tmp_path / "cache"),
        "ONNX_ML_BRIDGE_STORE": str(tmp_path / "store"),
    }
    assert {language for language, _ in BLOCKS} == {"sh", "toml", "python"}
    for language, text in BLOCKS:
        text = text.replace("/srv/models", str(tmp_path / "store"))
        if language == "toml":
            (tmp_path / "bridge.toml").write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        if language == "python":
            assert done.stdout.splitlines() == re.findall(r"^ +# (.+)$", text, re.MULTILINE)
