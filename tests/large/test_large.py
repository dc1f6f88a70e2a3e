"""A decoder in the shape of Qwen3-0.6B, with random weights: its graph is larger than 2 GiB, the limit of a protobuf.

`make large` runs this test, which takes about half an hour and 20 GiB of memory. Fewer layers and tokens, set in the
environment, try the test itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = int(os.environ.get("ONNX_ML_BRIDGE_LARGE_LAYERS", "28"))
VOCAB_SIZE = int(os.environ.get("ONNX_ML_BRIDGE_LARGE_TOKENS", "151936"))
MAX_RSS = 20 * 2**30
# The size of the tensors in the data file of the complete model
MIN_BYTES = 2 * 2**30 if LAYERS == 28 else 0
SCRIPT = Path(__file__).with_name("stages.py")


def run(stage: str, folder: Path) -> dict[str, int]:
    """Run a stage in a process of its own, and return what it prints: its peak memory in bytes, and more."""
    command = [sys.executable, str(SCRIPT), stage, str(folder), str(LAYERS), str(VOCAB_SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    print(stage, figures)
    return figures


@pytest.mark.families("sentence_embedding")
@pytest.mark.skipif(not os.environ.get("ONNX_ML_BRIDGE_LARGE"), reason="only `make large` runs it")
def test_a_graph_of_more_than_2_gib(tmp_path):
    run("make", tmp_path)
    staged = run("build", tmp_path)
    assert staged["bytes"] > MIN_BYTES
    assert staged["rss"] <= MAX_RSS
    assert run("compare", tmp_path)["differing"] == 0
