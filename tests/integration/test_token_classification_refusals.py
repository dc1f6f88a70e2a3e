"""Token classifiers that cannot be reproduced or are not safe to load are refused; the error names the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from changed_checkpoints import change_json
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.export.token_classification import LoadedClassifier, NerDefaults, export_model, load_model
from onnx_ml_bridge.export.tokenizer_files import describe_tokenizer
from safetensors.torch import load_file, save_file
from small_models import POSITIONS
from small_token_classifiers import make_token_classifier
from transformers import BertForTokenClassification


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_token_classifier(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """A copy of a model's folder, which a test may modify."""
    return Path(shutil.copytree(pristine, tmp_path / "corrupted"))


def refused(code: str, *words: str):
    """Expect a `BuildError` with the given code, whose message matches all the given regular expressions."""
    pattern = "".join(f"(?=(?s:.*){word})" for word in words)
    return pytest.raises(BuildError, match=pattern, check=lambda error: error.code == code)


def export(loaded: LoadedClassifier, folder: Path, defaults: NerDefaults | None = None) -> None:
    """Export to a staging folder, which must be empty if the export is refused."""
    staging = folder.parent / "staging"
    staging.mkdir()
    try:
        export_model(loaded, folder, staging, defaults)
    finally:
        assert not list(staging.iterdir())


def test_the_pristine_model_is_accepted(folder):
    loaded = load_model(folder)
    assert type(loaded.model) is BertForTokenClassification and not loaded.model.training
    assert loaded.model.dtype == torch.float32 and loaded.model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bart"}, ["bart", "no class with this head"]),
        ({"architectures": ["BertCRF"]}, ["a head that is not supported", "BertCRF", "BertForTokenClassification"]),
        ({"architectures": ["BertForMaskedLM"]}, ["BertForMaskedLM"]),
        ({"quantization_config": {"load_in_8bit": True}}, ["already quantized"]),
        ({"model_type": "t5", "quantization_config": {"bits": 4}}, ["T5", "already quantized"]),
    ],
)
def test_architectures_that_are_not_reproduced(folder, changes, words):
    change_json(folder / "config.json", **changes)
    with refused("unsupported_model", "corrupted", *words, r"expected a class \*ForTokenClassification"):
        load_model(folder)


@pytest.mark.parametrize("model_type", [None, "new", 5])
def test_types_that_transformers_does_not_have(folder, model_type):
    change_json(folder / "config.json", model_type=model_type)
    with refused("unsupported_model", "corrupted", repr(model_type), "transformers has no class"):
        load_model(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "bert", "architectures": 5}'])
def test_an_invalid_configuration(folder, text):
    (folder / "config.json").write_text(text)
    with refused("source", "config.json"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes", [{"hidden_size": "wide"}, {"id2label": ["O", "B"]}, {"id2label": {"x": "O"}}, {"num_attention_heads": 5}]
)
def test_a_configuration_with_invalid_values(folder, changes):
    change_json(folder / "config.json", **changes)
    with refused("source", "transformers cannot load"):
        load_model(folder)


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    with refused("source", "transformers cannot load"):
        load_model(folder)


def test_a_checkpoint_without_a_head(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with refused("unsupported_model", "classifier.bias", "classifier.weight", "trained for token classification"):
        load_model(folder)


def test_unused_weights_are_accepted(folder):
    """Checkpoints often contain the pooler of the model from which they were trained; the original ignores it too."""
    weights = load_file(folder / "model.safetensors")
    save_file(
        {**weights, "bert.pooler.dense.bias": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    assert load_model(folder)


def test_pickled_weights(pristine, folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with refused("source", "corrupted"):
        load_model(folder)
    allowed, expected = (load_model(path, allow_pickle=True).model.state_dict() for path in (folder, pristine))
    assert all(torch.equal(allowed[name], expected[name]) for name in expected)


class Canary:
    """An object that creates a file when it is unpickled by a loader that runs the code in pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_never_run(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Canary(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with refused("unsafe_checkpoint", "corrupted"):
        load_model(folder, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_a_weight_file_that_is_damaged(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with refused("source", "corrupted"):
        load_model(folder)


def test_all_problems_are_named_at_once(folder):
    loaded = load_model(folder)
    loaded.model.config.is_decoder = True
    loaded.tokenizer.pad_token = None
    with refused("unsupported_model", "is_decoder", "padding token"):
        export(loaded, folder)


class OtherHead(BertForTokenClassification):
    """A class that is not part of transformers."""


def test_a_custom_class(folder):
    with refused("unsupported_model", "OtherHead", "BertForTokenClassification of transformers"):
        export(LoadedClassifier(OtherHead(load_model(folder).model.config), load_model(folder).tokenizer), folder)


class SlowTokenizer:
    """A tokenizer that is implemented in Python, without offsets."""

    model_input_names = ("input_ids", "attention_mask")


def test_a_slow_tokenizer(folder):
    with refused("unsupported_model", "tokenizer.json"):
        export(LoadedClassifier(load_model(folder).model, SlowTokenizer()), folder)


def test_labels_with_gaps(folder):
    loaded = load_model(folder)
    del loaded.model.config.id2label[3]
    with refused("unsupported_model", "labels for the classes"):
        export(loaded, folder)


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra"])
def test_padding_on_the_left_of_absolute_positions(tmp_path, name):
    made = make_token_classifier(tmp_path / "made", name, tokenizer={"padding_side": "left"})
    with refused("unsupported_model", "padding on the left", "padding_side"):
        export(load_model(made), made)


def test_special_tokens_that_are_split(tmp_path):
    made = make_token_classifier(tmp_path / "made", "bert", tokenizer={"split_special_tokens": True})
    with refused("unsupported_model", "split_special_tokens"):
        export(load_model(made), made)


def test_token_types_other_than_zero(folder):
    loaded = load_model(folder)
    state = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    for piece in state["post_processor"]["single"]:
        next(iter(piece.values()))["type_id"] = 1
    loaded.tokenizer._tokenizer = type(loaded.tokenizer.backend_tokenizer).from_str(json.dumps(state))
    with refused("unsupported_model", "token types"):
        export(loaded, folder)


@pytest.mark.parametrize(
    ("name", "limit", "positions"), [("roberta", POSITIONS, POSITIONS - 2), ("bert", POSITIONS + 1, POSITIONS)]
)
def test_a_limit_beyond_the_positions(tmp_path, name, limit, positions):
    """A limit above the number of positions is refused: the original fails on texts with more tokens than positions."""
    made = make_token_classifier(tmp_path / "made", name, model_max_length=limit)
    with refused("unsupported_model", str(limit), str(positions), "model_max_length"):
        export(load_model(made), made)


def test_relative_positions_have_no_limit(tmp_path):
    made = make_token_classifier(tmp_path / "made", "deberta-v2", model_max_length=4 * POSITIONS)
    loaded = load_model(made)
    assert describe_tokenizer(loaded.tokenizer, loaded.model).max_tokens == 4 * POSITIONS
    loaded.tokenizer.model_max_length = int(1e30)
    assert describe_tokenizer(loaded.tokenizer, loaded.model).max_tokens == POSITIONS


def test_no_limit_at_all(tmp_path):
    folder = make_token_classifier(tmp_path / "made", "deberta-v2")  # it has no table of positions
    loaded = load_model(folder)
    loaded.tokenizer.model_max_length = int(1e30)
    loaded.model.config.max_position_embeddings = 0
    with refused("unsupported_model", "maximum number of tokens", "model_max_length in tokenizer_config.json"):
        export(loaded, folder)


def test_a_limit_that_leaves_no_tokens_for_text(folder):
    loaded = load_model(folder)
    loaded.tokenizer.model_max_length = 2
    with refused("unsupported_model", "room"):
        export(loaded, folder)


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        (NerDefaults("best"), ["aggregation_strategy", "average", "best"]),
        (NerDefaults("none", 5), ["stride", "none"]),
        (NerDefaults("simple", 126), ["stride", "0 to 125", "126"]),
        (NerDefaults("simple", -1), ["stride", "-1"]),
    ],
)
def test_invalid_defaults(folder, defaults, words):
    with refused("config", *words):
        export(load_model(folder), folder, defaults)
