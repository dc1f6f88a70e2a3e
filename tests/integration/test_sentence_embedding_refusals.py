"""Pipelines that cannot be reproduced or are not safe to load are refused before their code or weights are used."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from changed_checkpoints import change_json
from onnx_ml_bridge.export.sentence_embedding.pipeline import export_pipeline, load_pipeline
from onnx_ml_bridge.export.source import resolve_source
from refusing import refused
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from small_encoders import FNET, QWEN2, make_encoder
from small_models import make_model

MODULES = "sentence_transformers.models."


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """A copy of a model's folder, which a test may modify."""
    return Path(shutil.copytree(pristine, tmp_path / "corrupted"))


def add_module(folder: Path, kind: str) -> None:
    listing = json.loads((folder / "modules.json").read_text())
    listing.append({"idx": len(listing), "name": str(len(listing)), "path": "9_More", "type": kind})
    (folder / "modules.json").write_text(json.dumps(listing))


def pickle_weights(folder: Path) -> None:
    """Replace safetensors by pickled weights."""
    for path in folder.rglob("*.safetensors"):
        torch.save(load_file(path), path.with_name("pytorch_model.bin"))
        path.unlink()


def test_the_pristine_model_is_accepted(folder):
    assert resolve_source(f"path:{folder}").folder == folder
    assert load_pipeline(folder)[0].tokenizer.pad_token == "[PAD]"


@pytest.mark.parametrize(
    "kind",
    [
        f"{MODULES}WeightedLayerPooling",
        f"{MODULES}LSTM",
        "sentence_transformers.sentence_transformer.modules.cnn.CNN",
        "custom_code.Normalize",
        "os.system",
    ],
)
def test_modules_that_are_not_reproduced(folder, kind):
    add_module(folder, kind)
    with refused("unsupported_model", kind):
        load_pipeline(folder)


def test_all_unknown_modules_are_named_at_once(folder):
    for kind in ("LSTM", "CNN"):
        add_module(folder, f"{MODULES}{kind}")
    with refused("unsupported_model", "LSTM", "CNN"):
        load_pipeline(folder)


def test_no_modules_json(folder):
    (folder / "modules.json").unlink()
    with refused("unsupported_model", folder.name, "modules.json"):
        load_pipeline(folder)


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '[{"idx": 0}]', "[1]"])
def test_an_invalid_modules_json(folder, text):
    (folder / "modules.json").write_text(text)
    with refused("source", "modules.json"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    "file", ["config.json", "1_Pooling/config.json", "tokenizer_config.json", "deep/er/config.json"]
)
def test_custom_code(folder, file):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.write_text(path.read_text() or "{}")
    change_json(path, auto_map={"AutoModel": "modeling_evil.EvilModel"})
    with refused("unsafe_checkpoint", file, "modeling_evil.EvilModel"):
        resolve_source(f"path:{folder}")


def test_a_configuration_that_is_not_json(folder):
    (folder / "1_Pooling/config.json").write_text("{")
    with refused("source", "1_Pooling/config.json"):
        resolve_source(f"path:{folder}")


def test_pickled_weights(folder):
    pickle_weights(folder)
    with refused("unsafe_checkpoint", "pytorch_model.bin", "safetensors"):
        resolve_source(f"path:{folder}")
    # If the source is not checked before, the loader refuses the pickled weights
    with refused("source", folder.name):
        load_pipeline(folder)


def test_pickled_weights_that_are_allowed(pristine, folder):
    pickle_weights(folder)
    assert resolve_source(f"path:{folder}", allow_pickle=True).source.weights_sha256
    loaded = load_pipeline(folder, allow_pickle=True)[0].model.state_dict()
    expected = load_pipeline(pristine)[0].model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


class Canary:
    """An object that creates a file when it is unpickled by a loader that runs the code in pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("allow_pickle", "code"), [(False, "source"), (True, "unsafe_checkpoint")])
def test_code_in_a_pickle_is_never_run(folder, tmp_path, allow_pickle, code):
    pickle_weights(folder)
    alive, canary = tmp_path / "alive", tmp_path / "ran"
    pickle.loads(pickle.dumps(Canary(alive)))
    assert alive.exists()  # proves that an unrestricted loader runs the code
    torch.save({"embeddings.word_embeddings.weight": Canary(canary)}, folder / "pytorch_model.bin")
    with refused(code, folder.name):
        load_pipeline(folder, allow_pickle=allow_pickle)
    assert not canary.exists()


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with refused("source", folder.name, "safetensors"):
        resolve_source(f"path:{folder}")


def export(pipeline: SentenceTransformer, folder: Path) -> None:
    staging = folder.parent / "staging"
    staging.mkdir()
    export_pipeline(pipeline, folder, staging)


def test_no_padding_token(folder):
    pipeline = load_pipeline(folder)
    pipeline[0].tokenizer.pad_token = None
    with refused("unsupported_model", "padding token"):
        export(pipeline, folder)


class SlowTokenizer:
    """A tokenizer that is implemented in Python, without a tokenizer.json."""

    model_input_names = ("input_ids", "attention_mask")


def test_a_slow_tokenizer(folder):
    pipeline = load_pipeline(folder)
    pipeline[0].processor = SlowTokenizer()
    with refused("unsupported_model", "tokenizer.json"):
        export(pipeline, folder)


def test_a_limit_beyond_the_positions(tmp_path):
    """RoBERTa uses only 128 of its 130 positions for tokens; the original fails on texts with more tokens."""
    made = make_model(tmp_path, "roberta", max_seq_length=130)
    with refused("unsupported_model", "130", "128", "max_seq_length"):
        export(load_pipeline(made), made)


@pytest.mark.parametrize("prompts", [{"a": 5}, {"a": {}}, {"a": "\ud800"}, {"": "x"}])
def test_prompts_that_are_no_texts_by_name(folder, prompts):
    change_json(folder / "config_sentence_transformers.json", prompts=prompts)
    with refused("source", "prompts of config_sentence_transformers.json"):
        export(load_pipeline(folder), folder)


def test_a_limit_that_is_no_number(folder):
    change_json(folder / "sentence_bert_config.json", max_seq_length="x")
    with refused("unsupported_model", "maximum number of tokens", "'x'"):
        export(load_pipeline(folder), folder)


@pytest.mark.parametrize("model_type", [["bert"], {}, None, 3])
def test_a_type_that_is_no_name(folder, model_type):
    change_json(folder / "config.json", model_type=model_type)
    with refused("unsupported_model", "model_type"):
        load_pipeline(folder)


def test_a_padding_token_that_the_model_does_not_have(tmp_path):
    made = make_encoder(tmp_path, QWEN2)
    pipeline = load_pipeline(made)
    pipeline[0].tokenizer.add_special_tokens({"pad_token": "<new>"})
    with refused("unsupported_model", "padding token '<new>' with the id", "tokens"):
        export(pipeline, made)


def test_a_decoder_without_a_padding_token(tmp_path):
    """Without one, the original itself cannot read several texts at once."""
    made = make_encoder(tmp_path, QWEN2)
    pipeline = load_pipeline(made)
    pipeline[0].tokenizer.pad_token = None
    with refused("unsupported_model", "padding token"):
        export(pipeline, made)


def test_a_model_that_answers_differently_when_padded(tmp_path):
    """FNet mixes all tokens, padding included."""
    made = make_encoder(tmp_path, FNET)
    with refused("unsupported_model", "FNetModel itself", "padding on the right"):
        export(load_pipeline(made), made)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"message": {"method": "forward", "method_output_name": "last_hidden_state"}}, ["text, message"]),
        ({"text": {"method": "forward", "method_output_name": "pooler_output"}}, ["token vectors", "pooler_output"]),
    ],
)
def test_other_modalities_and_outputs(folder, changes, words):
    """A chat template gives a pipeline the modality `message`."""
    pipeline = load_pipeline(folder)
    pipeline[0].modality_config = {**pipeline[0].modality_config, **changes}
    with refused("unsupported_model", *words):
        export(pipeline, folder)


def test_other_inputs(folder):
    pipeline = load_pipeline(folder)
    pipeline[0].tokenizer.model_input_names = ["input_ids", "attention_mask", "bbox"]
    with refused("unsupported_model", "the inputs bbox"):
        export(pipeline, folder)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "hub:ID@REVISION"),
        ("path:", "path:DIR"),
        ("path:~nobody-has-this-name/x", "~nobody-has-this-name"),
        ("folder/without/kind", "folder/without/kind"),
        ("ftp:somewhere", "ftp:somewhere"),
        ("path:no/such/folder", "no/such/folder"),
        ("package:no_such_package_here/model", "no_such_package_here"),
        ("package:json/no_such_folder", "no_such_folder"),
        ("package:math", "math"),
        ("package:no_such.package/model", "no_such.package"),
        ("package:/model", "package"),
        ("hub:not a valid id", "not a valid id"),
        ("hub:nobody/nothing@main", "nobody/nothing"),
    ],
)
def test_sources_that_do_not_exist(text, word):
    with refused("source", word):
        resolve_source(text)


def test_a_file_where_a_folder_was_expected(folder):
    with refused("source", "config.json"):
        resolve_source(f"path:{folder / 'config.json'}")


def test_a_folder_without_a_model(tmp_path):
    with refused("source", "config.json"):
        resolve_source(f"path:{tmp_path}")


def test_a_weight_file_that_is_damaged(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with refused("source", folder.name):
        load_pipeline(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "2_Dense/../../elsewhere", "C:/x", "..\\elsewhere"])
def test_modules_outside_of_the_model(folder, path):
    listing = json.loads((folder / "modules.json").read_text())
    listing[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(listing))
    with refused("source", "outside"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    "path", ["../elsewhere", "/", "2_Dense/../../elsewhere", "C:/x", "..\\elsewhere", "link", "loop"]
)
def test_modules_outside_of_the_model_are_refused_before_anything_is_read(folder, path, monkeypatch):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").write_bytes(b"secret")
    path = str(elsewhere) if path == "/" else path
    (folder / "link").symlink_to(elsewhere)
    (folder / "loop").symlink_to("loop")
    listing = json.loads((folder / "modules.json").read_text())
    listing[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(listing))
    monkeypatch.setattr("onnx_ml_bridge.export.source.sha256_file", lambda path: pytest.fail(f"{path} is hashed"))
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter(()) if pattern == "*/config.cfg" else pytest.fail())
    with refused("source", "outside of the model", re.escape(path)):
        resolve_source(f"path:{folder}")


def test_links_of_files_are_followed(folder):
    # The cache of the hub has links instead of files
    moved = (folder / "model.safetensors").rename(folder.parent / "blob")
    (folder / "model.safetensors").symlink_to(moved)
    assert resolve_source(f"path:{folder}").source.kind == "path"


def test_a_pickled_dense_layer_beside_safe_weights(tmp_path):
    folder = make_model(tmp_path / "model", "bert", dense="tanh")
    (dense,) = folder.glob("*_Dense/*.safetensors")
    torch.save(load_file(dense), dense.with_name("pytorch_model.bin"))
    assert resolve_source(f"path:{folder}"), "a second copy that nothing reads is no reason to refuse"
    dense.unlink()
    with refused("unsafe_checkpoint", "_Dense/pytorch_model.bin"):
        resolve_source(f"path:{folder}")
    assert resolve_source(f"path:{folder}", allow_pickle=True)
