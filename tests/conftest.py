"""What tests of several folders share: the real MiniLM artifact, and the way to `small_models`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

# Everything the tests load lies on this machine; set before the first import of huggingface_hub, which reads it once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# pytest's importlib mode makes no folder importable; helper modules of the tests are imported by their plain names.
TESTS = Path(__file__).parent
for helpers in (TESTS, TESTS / "parity"):
    sys.path.insert(0, str(helpers))

MINILM = "all-minilm-l6-v2"
DIST_VARIABLE = "ONNX_ML_BRIDGE_DIST"


@pytest.fixture(scope="session")
def package_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is made from: setuptools leaves a build folder where it works."""
    target = tmp_path_factory.mktemp("source")
    for folder in ("api", "artifacts", "cli", "export", "parity", "quantize", "runtime"):
        shutil.copytree(TESTS.parent / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(TESTS.parent / file, target / file)
    return target


@pytest.fixture(scope="session")
def minilm_config():
    """The entry of models.toml that the real artifact is built from."""
    from onnx_ml_bridge.cli.config import read_models

    return next(model for model in read_models(TESTS.parent / "models.toml") if model.name == MINILM)


@pytest.fixture(scope="session")
def minilm_artifact(minilm_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real artifact: from the folder that ONNX_ML_BRIDGE_DIST names, else built here in a minute or two."""
    dist = os.environ.get(DIST_VARIABLE)
    if dist and (Path(dist) / MINILM / "manifest.json").is_file():
        return Path(dist).absolute() / MINILM
    from onnx_ml_bridge.cli.build import build

    out = tmp_path_factory.mktemp("dist")
    built = build(minilm_config, out, lambda stage: None)
    assert built.path is not None
    return Path(built.path)
