"""Without a network, artifacts are opened, verified and run, and no socket is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples import VALID

TINY = VALID / "tiny-embedding"
SCRIPT = f"""
from onnx_ml_bridge import OnnxMlBridge, verify
verify({str(TINY)!r})
assert OnnxMlBridge.open({str(TINY)!r}).generate_embedding("the cat") is not None
print("done")
"""

pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """The start of a command line that runs a command in a network namespace without a route."""
    command = ["unshare", "--net"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "--user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system does not allow network namespaces (unshare --net)")
    if shutil.which("strace") is None or subprocess.run(["strace", "-o", "/dev/null", "true"]).returncode:
        pytest.skip("strace is not installed, or this system does not allow it")
    return command


def sockets(namespace: list[str], command: list[str], log: Path, text: str = "") -> list[str]:
    """Run a command without a network, which must succeed; return its system calls that make or use a socket."""
    traced = [*namespace, "strace", "-f", "-qq", "-e", "trace=%network", "-o", str(log), *command]
    done = subprocess.run(traced, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return [line for line in log.read_text().splitlines() if "+++" not in line and "---" not in line]


def test_the_trace_sees_a_socket(namespace, tmp_path):
    """The namespace has no route, and a command that makes a socket is found."""
    script = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 5)\nexcept OSError as e: print(e.errno)"
    found = sockets(namespace, [sys.executable, "-c", script], tmp_path / "log")
    assert any("socket(AF_INET" in line for line in found)
    assert any("ENETUNREACH" in line for line in found)


def test_python_makes_no_socket(namespace, tmp_path):
    assert sockets(namespace, [sys.executable, "-c", SCRIPT], tmp_path / "log") == []


@pytest.mark.skipif("ONNX_ML_BRIDGE_RUST" not in os.environ, reason="needs the Rust command: ONNX_ML_BRIDGE_RUST")
def test_rust_makes_no_socket(namespace, tmp_path):
    rust = os.environ["ONNX_ML_BRIDGE_RUST"]
    assert sockets(namespace, [rust, "verify", str(TINY)], tmp_path / "verify") == []
    embed = [rust, "embed", "--model", str(TINY)]
    assert sockets(namespace, embed, tmp_path / "embed", '{"text": "the cat"}\n') == []
