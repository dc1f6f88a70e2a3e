"""A family that is defined only in tests/toy_family goes through every stage, without a change outside its folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.cli.build import Built, build_all
from onnx_ml_bridge.cli.config import read_models
from onnx_ml_bridge.cli.main import create_app
from onnx_ml_bridge.runtime.verify import verify
from toy_family.artifacts.families.readability import READABILITY
from toy_family.recipe import save_model
from typer.testing import CliRunner

TESTS = Path(__file__).parent.parent
WITH_TOY = (*FAMILIES, READABILITY)
MODELS = """
[[model]]
name = "toy"
version = "1.0.0"
task = "readability"
source = "path:model"
options = { best = 2.5 }
gate.int8 = { correlation = 0.9 }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("toy")
    save_model(folder / "model")
    (folder / "models.toml").write_text(MODELS, encoding="utf-8")
    models = read_models(folder / "models.toml", WITH_TOY)
    (result,) = build_all(models, folder / "dist", lambda model: lambda stage: None, families=WITH_TOY)
    assert result.error is None, result.error
    return result


@pytest.fixture(autouse=True)
def importable_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def test_it_is_exported_quantized_compared_and_sealed(built):
    manifest = read_artifact(built.path, WITH_TOY).manifest
    assert set(manifest.variants) == {"fp32", "int8"}
    assert manifest.variants["int8"].quantization is not None
    assert manifest.parity.variants["fp32"]["max_abs"] <= 1e-5
    assert manifest.variants["int8"].gate == {"correlation": 0.9}
    assert manifest.to_json()["readability"] == {"best": 2.5}


def test_it_is_verified(built):
    report = verify(built.path, WITH_TOY)
    assert report.variants["fp32"].cases > 5
    assert report.variants["fp32"].figures["max_abs"] <= 1e-5


def test_it_is_shown(built):
    shown = CliRunner().invoke(create_app(WITH_TOY), ["show", built.path]).output
    assert "readability (format 1, revision 1)" in shown
    assert "best score" in shown and "2.5" in shown and "correlation" in shown


def test_the_command_verifies_it(built):
    result = CliRunner().invoke(create_app(WITH_TOY), ["verify", "--json", built.path])
    assert json.loads(result.output)["variants"]["int8"]["correlation"] >= 0.9


def test_it_has_a_report_and_a_card(built):
    page = Path(built.report).read_text(encoding="utf-8")
    assert "The original&#39;s scores" in page or "The original's scores" in page
    assert "largest difference of a score" in page
    assert "Best score: 2.5." in (Path(built.path) / "README.md").read_text(encoding="utf-8")


def test_its_command_reads_json_lines(built):
    script = (
        "from onnx_ml_bridge.cli.main import create_app\n"
        "from toy_family.artifacts.families.readability import READABILITY\n"
        "create_app([READABILITY])(['score', '--model', r'%s'])"
    )
    # An application that is created with this family alone has its command `score` and the commands that work for all
    # families
    child = subprocess.run(
        [sys.executable, "-c", script % built.path], input=b'"A short text."\n{"other": 1}\n', capture_output=True
    )
    first, second = map(json.loads, child.stdout.splitlines())
    assert isinstance(first["score"], float)
    assert second["error"]["code"] == "bad_line"
    assert child.returncode == 1


def test_a_reader_without_the_family_refuses_it(built):
    with pytest.raises(ArtifactError, match="sentence-embedding") as refused:
        read_artifact(built.path)
    assert refused.value.code == "unknown_task"
