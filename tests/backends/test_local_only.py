"""A bridge that is local works where there is no network at all: in a namespace without a route."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
UNSHARE = ["unshare", "--map-root-user", "--net"]
CONFIG = """
[models.summaries]
path = {artifact}
[models.sentences]
path = {sentences}
[backend.local]
kind = "llama-cpp"
summarization = {{ path = {file}, context = 512, threads = 1, max_output_tokens = 20 }}
[tasks]
summarization = ["local", "summaries"]
"""
PROGRAM = """
import json, os, socket, sys
from onnx_ml_bridge import OnnxMlBridgeError, open_bridge
with socket.socket() as outside:
    outside.settimeout(2)
    reached = outside.connect_ex(("192.0.2.1", 443))
with open_bridge(sys.argv[1], local_only=True) as bridge:
    summary = bridge.summarizer().summarize([["The lease was signed."]])[0]
    size = len(bridge.generate_embedding("one"))
    health = [each.error for each in bridge.health()]
try:
    open_bridge(sys.argv[2], local_only=True)
    code = None
except OnnxMlBridgeError as error:
    code = error.code
print(json.dumps([os.strerror(reached), summary.backend, bool(summary.text), size, health, code]))
"""


@pytest.mark.families("sentence_embedding", "summarization")
def test_a_local_bridge_needs_no_network(llama_file, tmp_path):
    if shutil.which("unshare") is None or subprocess.run([*UNSHARE, "true"], check=False).returncode:
        pytest.skip("the system allows no network namespaces")
    paths = {"artifact": GOLDEN_FOLDER / "valid/tiny-summary", "sentences": GOLDEN_FOLDER / "valid/tiny-embedding"}
    named = {name: json.dumps(str(path)) for name, path in {**paths, "file": llama_file}.items()}
    (tmp_path / "bridge.toml").write_text(CONFIG.format(**named), encoding="utf-8")
    cloud = '[backend.cloud]\nkind = "openai"\nsummarization = { model = "m" }\n'
    (tmp_path / "cloud.toml").write_text(cloud, encoding="utf-8")
    arguments = [str(tmp_path / name) for name in ("bridge.toml", "cloud.toml")]
    command = [*UNSHARE, sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reached, *rest = json.loads(done.stdout)
    assert reached == "Network is unreachable"
    assert rest == ["local", True, 16, [None] * 3, "not_local"]
