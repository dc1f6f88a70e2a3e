"""Reading models.toml: error messages, relative paths, and the options of families."""

from __future__ import annotations

import pytest
from onnx_ml_bridge import BuildError
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.cli.config import ModelConfig, read_models, validate
from onnx_ml_bridge.cli.options import known_options

FAMILY = FAMILIES[0]
MODEL = f"[[model]]\nname='a'\nversion='1'\ntask='{FAMILY.task}'\nsource='x'\n"
BAD_FILES = {
    "": "model",
    "[[model]]": "source",
    f"{MODEL}surprise=1": "surprise",
    MODEL.replace("'a'", "'A B'"): "name",
    MODEL.replace(FAMILY.task, "other"): f"task 'other' is not one of .*{FAMILY.task}",
    f"{MODEL}variants=['fp32','fp32']": "no duplicates",
    f"{MODEL}variants=['fp32']\n[model.gate.int8]\ncosine_min=1.0": "not built",
    MODEL * 2: "several models have the name a",
    f"{MODEL}[model.gate.fp32]\ncosine_min=nan": "cosine_min is nan, expected at most",
    f"{MODEL}[model.gate.fp32]\ncosine_min=1e300": "cosine_min is 1e.300, expected at most",
    f"{MODEL}[model.gate.fp32]\nbeauty=1.0": f"beauty.*{FAMILY.metrics[0].name}",
    f"{MODEL}weights_sha256='x'": "weights_sha256",
    "not toml": "models.toml",
    "a = " + "[" * 2000 + "]" * 2000: "models.toml",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_an_error_in_models_toml_is_reported(tmp_path, text):
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(BuildError, match=BAD_FILES[text]) as refused:
        read_models(path)
    assert refused.value.code == "config"


def test_paths_in_models_toml_are_relative_to_its_folder(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(MODEL.replace("'x'", "'path:m'") + "calibration='c.txt'")
    (model,) = read_models(path)
    assert (model.source, model.calibration) == (f"path:{tmp_path / 'm'}", tmp_path / "c.txt")


def model_of(family, **changes) -> dict[str, object]:
    return {"name": "a", "version": "1", "task": family.task, "source": "path:m", **changes}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_missing_settings_have_the_defaults_of_the_family(family):
    settings = validate(ModelConfig, model_of(family), "the file").settings(family.engine)
    assert settings.family is family and settings.variants == tuple(family.gates)
    assert settings.gates == family.gates
    assert vars(settings.options) == {name: field.default for name, field in known_options([family]).items()}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_gate_replaces_only_the_thresholds_it_names(family):
    name, threshold = next(iter(family.gates["fp32"].items()))
    model = model_of(family, gate={"fp32": {name: threshold + 1}}, variants=["fp32"])
    settings = validate(ModelConfig, model, "the file").settings(family.engine)
    assert settings.gates == {"fp32": {**family.gates["fp32"], name: threshold + 1}}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_options_of_another_family_are_refused(family):
    others = {name: field for name, field in known_options(FAMILIES).items() if name not in known_options([family])}
    assert others
    for name in others:
        model = model_of(family, options={name: 1})
        with pytest.raises(BuildError, match=name) as refused:
            validate(ModelConfig, model, "the file").settings(family.engine)
        assert refused.value.code == "config"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_engine_that_does_not_support_the_task_is_refused(family):
    model = validate(ModelConfig, model_of(family), "the file")
    with pytest.raises(BuildError, match=f"a steam model for the task {family.task}, expected .*{family.engine}"):
        model.settings("steam")
