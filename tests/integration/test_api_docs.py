"""docs/api.md: its examples run, its bridge.toml is valid, and it names the whole public API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx_ml_bridge
import pytest
from onnx_ml_bridge.runtime.bridge_config import read_bridge_config

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
DIST_VARIABLE = "ONNX_ML_BRIDGE_DIST"
# Names that the page does not need to explain: parts of results, and the error classes of one code each
_OTHER = {"BuildError", "Built", "DependencyError", "InferenceError", "StoppedError", "TaskNotLoadedError"}
_OTHER |= {"ArtifactError", "ConfigError", "VariantReplay", "VerifyReport"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_names_the_public_api():
    assert [name for name in onnx_ml_bridge.__all__ if name not in PAGE and name not in _OTHER] == []


def test_the_calls_of_the_page_exist():
    handles = {"embedder": onnx_ml_bridge.Embedder, "recognizer": onnx_ml_bridge.Recognizer}
    handles |= {"summarizer": onnx_ml_bridge.Summarizer, "reranker": onnx_ml_bridge.Reranker}
    handles |= {"bridge": onnx_ml_bridge.OnnxMlBridge}
    calls = re.findall(r"\b(embedder|recognizer|summarizer|reranker|bridge)\.(\w+)\(", PAGE)
    assert len(calls) > 10
    missing = [(name, call) for name, call in calls if not hasattr(handles[name], call.removesuffix("_blocking"))]
    assert missing == []


def test_its_bridge_toml_is_valid(tmp_path):
    (text,) = blocks("toml")
    (tmp_path / "bridge.toml").write_text(text, encoding="utf-8")
    config = read_bridge_config(tmp_path / "bridge.toml")
    assert [model.name for model in config.models] == ["en", "fr", "minilm"]
    assert config.models[0].timeout == 0.5 and config.defaults == {"ner": "en"}


@pytest.mark.skipif(DIST_VARIABLE not in os.environ, reason=f"{DIST_VARIABLE} does not name the folder of the models")
@pytest.mark.parametrize("code", blocks("python"))
def test_the_examples_run(code, tmp_path):
    (tmp_path / "dist").symlink_to(Path(os.environ[DIST_VARIABLE]).absolute())
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"^# (.+)$", code, re.MULTILINE)
