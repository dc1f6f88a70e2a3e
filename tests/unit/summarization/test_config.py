"""The options of summarizers in models.toml."""

import pytest
from onnx_ml_bridge import BuildError
from onnx_ml_bridge.artifacts.families.summarization import SUMMARIZATION
from onnx_ml_bridge.cli.config import read_models

MODEL = '[[model]]\nname = "s"\nversion = "1"\ntask = "summarization"\nsource = "path:m"\n'


def test_paths_of_references_are_relative_to_the_folder_of_the_file(tmp_path):
    (tmp_path / "models.toml").write_text(
        f'{MODEL}options = {{references = "r.jsonl"}}\ngate.int8 = {{rouge_l_drop = 0.5}}\n'
    )
    (model,) = read_models(tmp_path / "models.toml")
    settings = model.settings("transformers")
    assert settings.options.references == tmp_path / "r.jsonl"
    assert settings.gates == {
        "fp32": {"differing": 0, "tie_share": 0.01, "token_mismatches": 0},
        "int8": {**SUMMARIZATION.gates["int8"], "rouge_l_drop": 0.5},
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gate.int8 = {rouge_l_drop = 0.5}", "requires options.references"),
        ("options = {parity_inputs = 0}", "parity_inputs is 0"),
        ("options = {parity_inputs = 1.5}", "parity_inputs"),
        ("options = {stride = 1}", "stride.*allow_pickle"),
        ('options = {sentences = "none"}', "sentences.*allow_pickle"),
        ('options = {language = "en"}', "language.*allow_pickle"),
    ],
)
def test_invalid_options_are_named(tmp_path, line, said):
    (tmp_path / "models.toml").write_text(MODEL + line)
    with pytest.raises(BuildError, match=said) as refused:
        read_models(tmp_path / "models.toml")
    assert refused.value.code == "config"
