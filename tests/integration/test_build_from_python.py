"""`build`, called from Python: the results, the progress, and invalid configurations."""

import pytest
from onnx_ml_bridge import BuildError, Embedder, ModelConfig, build
from sources import LOOSE, make_embedder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    make_embedder(folder)
    return folder / "model"


def test_models_are_built_and_a_failure_is_a_result(source, tmp_path):
    settings = {"version": "1", "task": "sentence-embedding", "gate": {"int8": LOOSE}}
    models = [
        ModelConfig(name="missing", source=f"path:{tmp_path / 'none'}", **settings),
        ModelConfig(name="tiny", source=f"path:{source}", **settings),
    ]
    stages = []
    failed, built = build(models, tmp_path / "dist", progress=lambda model, stage: stages.append((model, stage)))
    assert (failed.status, built.status) == ("failed", "built") and failed.error["code"] == "source"
    assert stages[0] == ("missing", "fetch") and stages[-1] == ("tiny", "seal")
    assert Embedder.open(built.path).info.identity == built.identity
    (again,) = build(models[1:], str(tmp_path / "dist"))
    assert again.status == "up to date"


def test_the_models_of_a_file_are_built(source, tmp_path):
    file = tmp_path / "models.toml"
    table = f'[[model]]\nname = "tiny"\nversion = "1"\ntask = "sentence-embedding"\nsource = "path:{source}"\n'
    file.write_text(table + 'variants = ["fp32"]\n', encoding="utf-8")
    (built,) = build(file, tmp_path / "dist")
    assert built.status == "built" and list(built.bytes) == ["fp32"]


def test_all_problems_of_a_file_are_named(tmp_path):
    file = tmp_path / "models.toml"
    file.write_text('[[model]]\nname = "Tiny"\ntask = "x"\n', encoding="utf-8")
    with pytest.raises(BuildError, match=r"(?s)name.*version.*source") as refused:
        build(str(file), tmp_path / "dist")
    assert refused.value.code == "config"
