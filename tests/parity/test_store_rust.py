"""Both languages use one cache: they download once together, and each finds offline what the other resolved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rust_command import rust_with_stores
from store_files import NAME, laid_out, sealed_version
from store_servers import web_server

PYTHON = [sys.executable, "-m", "onnx_ml_bridge"]


pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture
def binary() -> Path:
    return rust_with_stores()


def test_both_languages_share_a_cache(binary: Path, tmp_path: Path):
    identity = sealed_version(tmp_path / "artifact", extra={"data/random.bin": os.urandom(20_000_000)})
    laid_out(tmp_path / "store", tmp_path / "artifact", "latest")
    commands = [[str(binary), "pull", NAME], [*PYTHON, "pull", NAME]]
    with web_server(tmp_path / "store") as server:
        environment = {
            **os.environ,
            "ONNX_ML_BRIDGE_STORE": server.address,
            "ONNX_ML_BRIDGE_CACHE": str(tmp_path / "cache"),
        }
        running = [subprocess.Popen(each, env=environment, stdout=subprocess.PIPE, text=True) for each in commands * 2]
        answers = {process.communicate(timeout=120)[0] for process in running}
        assert answers == {f"{tmp_path / 'cache' / 'artifacts' / identity}\n"}
        assert sum(count for key, count in server.requests.items() if key.endswith("random.bin")) == 3

        server.requests.clear()
        environment["ONNX_ML_BRIDGE_OFFLINE"] = "1"
        for command in commands:
            result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            assert result.stdout in answers, result.stderr
        assert not server.requests
