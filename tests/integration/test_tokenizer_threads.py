"""A process to which the system refuses the threads of the tokenizers library goes on with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from examples import VALID

GIB = 1 << 30
# The threads have stacks that do not fit into the memory of the process
REFUSING = {"RAYON_NUM_THREADS": "64", "RUST_MIN_STACK": str(GIB), "TOKENIZERS_PARALLELISM": "true"}
COMMAND = (
    "import resource; from onnx_ml_bridge.cli.main import run;"
    f"resource.setrlimit(resource.RLIMIT_AS, ({16 * GIB}, {16 * GIB})); run()"
)


def run(command: str, model: str, lines: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    # Lines that arrive together, each with its newline, are one batch in both runs
    line = [sys.executable, "-c", COMMAND, command, "--model", str(VALID / model), "--threads", "1"]
    return subprocess.run(
        line,
        input="".join(f"{each}\n" for each in lines),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize(
    "command, model",
    [
        pytest.param("embed", "tiny-embedding", marks=pytest.mark.families("sentence_embedding")),
        pytest.param("ner", "tiny-gliner", marks=pytest.mark.families("gliner")),
    ],
)
def test_a_refused_thread_changes_no_answer(command: str, model: str) -> None:
    lines = [json.dumps(f"the old house number {number}") for number in range(40)]
    expected = run(command, model, lines)
    assert expected.returncode == 0, expected.stderr
    refused = run(command, model, lines, **REFUSING)
    assert refused.returncode == 0, refused.stderr[-2000:]
    assert refused.stdout == expected.stdout and '"error"' not in refused.stdout
    assert "ThreadPoolBuildError" in refused.stderr, "the threads were not refused"
    assert "this process tokenizes with one from now on" in refused.stderr
