"""Builds of a small model: they are reproducible, skip what is up to date, and leave nothing behind if they fail."""

import json
import shutil
from pathlib import Path

import pytest
from onnx_ml_bridge import BuildError, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families import SENTENCE_EMBEDDING
from onnx_ml_bridge.cli.build import build, build_all
from onnx_ml_bridge.cli.config import ModelConfig
from sources import LOOSE, make_embedder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    make_embedder(folder)
    return folder / "model"


def config(source: Path, **changes) -> ModelConfig:
    settings = {
        "name": "tiny",
        "version": "1",
        "task": "sentence-embedding",
        "source": f"path:{source}",
        "gate": {"int8": LOOSE},
    }
    return ModelConfig(**(settings | changes))


def names(folder: Path) -> list[str]:
    """Return the names of all entries of a folder except lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def built(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    assert build(config(source), out, lambda stage: None).status == "built"
    return out


def test_two_builds_are_identical(source, built, tmp_path):
    build(config(source), tmp_path, lambda stage: None)
    assert contents(tmp_path / "tiny") == contents(built / "tiny")
    assert verify(tmp_path / "tiny").identity == verify(built / "tiny").identity


def test_nothing_but_the_artifact_and_its_report_is_left(built):
    assert names(built) == [".reports", "tiny"]
    assert (built / ".reports" / "tiny" / "report.html").stat().st_size > 10_000


def test_an_artifact_that_is_up_to_date_is_skipped(source, built):
    stages: list[str] = []
    assert build(config(source), built, stages.append).status == "up to date"
    assert stages == ["fetch"]


def test_other_settings_and_damaged_artifacts_are_built_again(source, built, tmp_path):
    out = Path(shutil.copytree(built, tmp_path / "dist"))
    other = config(source, version="2", variants=["fp32"], gate={})
    assert build(other, out, lambda stage: None).status == "built"
    assert read_artifact(out / "tiny").manifest.version == "2"
    assert not begins_again(other, out)
    record = out / ".reports" / "tiny" / "build.json"
    right = record.read_text()
    record.write_text("[]")
    assert begins_again(other, out)
    record.write_text(right)
    assert not begins_again(other, out)
    path = out / "tiny" / "onnx" / "model.onnx_data"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert begins_again(other, out)


def begins_again(model: ModelConfig, out: Path) -> bool:
    """Return whether a build is not up to date and reaches the stage export, where this function stops it."""

    def stop(stage: str) -> None:
        if stage == "export":
            raise InterruptedError

    try:
        return build(model, out, stop).status != "up to date"
    except InterruptedError:
        return True


def test_a_missed_gate_fails_the_build_and_keeps_the_old_artifact(source, built, tmp_path):
    out = Path(shutil.copytree(built, tmp_path / "dist"))
    before = contents(out / "tiny")
    with pytest.raises(BuildError, match=r"cosine_min is .* expected >= 1") as refused:
        build(config(source, gate={"int8": {"cosine_min": 1.0}}), out, lambda stage: None)
    assert refused.value.code == "gate"
    assert contents(out / "tiny") == before
    assert names(out) == [".reports", "tiny"]


def test_other_models_are_built_after_one_fails(source, tmp_path):
    models = [config(Path("/nowhere"), name="broken"), config(source, name="whole", variants=["fp32"], gate={})]
    broken, whole = build_all(models, tmp_path, lambda model: lambda stage: None)
    assert (broken.status, broken.error["code"], whole.status) == ("failed", "source", "built")
    assert not (tmp_path / "broken").exists()
    assert set(verify(tmp_path / "whole").variants) == {"fp32"}


def test_an_artifact_with_only_int8_has_no_fp32_graph(source, tmp_path):
    build(config(source, variants=["int8"]), tmp_path, lambda stage: None)
    files = contents(tmp_path / "tiny")
    assert "onnx/model_int8.onnx" in files and not any(name.startswith("onnx/model.onnx") for name in files)
    assert set(verify(tmp_path / "tiny").variants) == {"int8"}


def test_a_folder_that_is_not_an_artifact_is_not_replaced(source, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "precious.txt").write_text("mine")
    stages: list[str] = []
    with pytest.raises(BuildError, match="not an artifact"):
        build(config(source, variants=["fp32"], gate={}), tmp_path, stages.append)
    assert contents(tmp_path / "tiny") == {"precious.txt": b"mine"} and stages == ["fetch"]


def test_every_measured_metric_can_be_in_a_gate(built):
    measured = read_artifact(built / "tiny").manifest.parity.variants
    assert {name for figures in measured.values() for name in figures} == {
        metric.name for metric in SENTENCE_EMBEDDING.metrics if metric.per_option is None
    }


def test_parity_evidence_contains_no_date_and_no_path(built):
    for name, raw in contents(built / "tiny").items():
        assert str(built.parent).encode() not in raw, name
    evidence = json.loads((built / "tiny" / "parity.json").read_text())
    assert sorted(evidence) == ["machine", "texts", "variants", "versions"]
