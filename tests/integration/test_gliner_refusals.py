"""GLiNER checkpoints that cannot be reproduced or are not safe to load are refused; the error names the reason."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from gliner_exports import export_gliner
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.cli.gliner import Options
from onnx_ml_bridge.export.gliner.checkpoint import load_checkpoint, read_config
from onnx_ml_bridge.export.source import resolve_source
from refusing import refused
from safetensors.torch import load_file, save_file
from small_gliners import make_gliner

pytestmark = pytest.mark.families("gliner")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gliner(tmp_path_factory.mktemp("pristine"), "token-bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """A copy of a model's folder, which a test may modify."""
    return Path(shutil.copytree(pristine, tmp_path / "changed"))


def change(folder: Path, **changes: object) -> None:
    path = folder / "gliner_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"span_mode": "conv_share"}, "span_mode"),
        ({"num_rnn_layers": 2}, "2 LSTM layers"),
        ({"words_splitter_type": "spacy"}, "words_splitter_type"),
        ({"subtoken_pooling": "mean"}, "subtoken_pooling"),
        ({"labels_encoder": "bert"}, "labels_encoder"),
        ({"labels_decoder": "gpt2"}, "labels_decoder"),
        ({"relations_layer": "dot"}, "relations_layer"),
        ({"post_fusion_schema": "l2l"}, "post_fusion_schema"),
        ({"fuse_layers": True}, "fuse_layers"),
        ({"represent_spans": True}, "represent_spans"),
        ({"span_encoder_config": {"model_type": "rnn"}}, "span_encoder_config"),
        ({"precomputed_prompts_mode": True}, "precomputed_prompts_mode"),
        ({"model_type": "gliner_streaming_span"}, "gliner_streaming_span"),
        ({"class_token_index": -1}, "class_token_index"),
        ({"encoder_config": None}, "encoder_config"),
        ({"encoder_config": {"model_type": "t5"}}, "t5"),
        ({"class_token_index": 5}, "<<ENT>>"),
        ({"num_rnn_layers": 1}, "missing: rnn.lstm"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder, changes, word):
    change(folder, **changes)
    with refused("unsupported_model", word):
        load_checkpoint(folder)


@pytest.mark.parametrize("where", ["encoder_config", "nested", "top"])
def test_code_of_the_checkpoint_is_never_run(folder, where):
    """The file would write a canary; GLiNER's library runs it, even from a local folder."""
    canary = folder.parent / "canary"
    (folder / "code.py").write_text(f"open({str(canary)!r}, 'w')\n")
    values = json.loads((folder / "gliner_config.json").read_text())
    trap = {"auto_map": {"AutoModel": "code.Model", "AutoConfig": "code.Config"}}
    values_of = {"encoder_config": {"encoder_config": values["encoder_config"] | trap}, "top": trap}
    values_of["nested"] = {"encoder_config": values["encoder_config"] | {"inner": [trap]}}
    change(folder, **values_of[where])
    with refused("unsafe_checkpoint", "auto_map"):
        resolve_source(f"path:{folder}")
    with contextlib.suppress(BuildError):  # without the check of the source, the code is not imported either
        load_checkpoint(folder)
    assert not canary.exists()


def test_pickled_weights_are_accepted_only_if_allowed(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with refused("unsafe_checkpoint", "safetensors"):
        load_checkpoint(folder)
    assert load_checkpoint(folder, allow_pickle=True).config.span_mode == "token_level"


def test_weights_that_do_not_fit_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["scorer.proj_token.weight"] = torch.zeros(3, 3)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors")
    with refused("unsupported_model", "unexpected: extra", "of another shape: scorer.proj_token.weight"):
        load_checkpoint(folder)


def test_files_that_are_missing_or_damaged_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with refused("source", "no weights"):
        load_checkpoint(folder)
    (folder / "gliner_config.json").write_text("{")
    with refused("source", "gliner_config.json"):
        read_config(folder)


def test_the_engine_is_recognized_by_the_configuration(folder):
    assert resolve_source(f"path:{folder}").engine == "gliner"


def test_options_out_of_range_are_refused(tmp_path):
    model = {"name": "a", "version": "1", "source": "path:a", "task": "ner"}
    for options in ({"threshold": 1.5}, {"labels": "person"}, {"nested": "no"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ModelConfig(**model, options=options)
    with refused("config", "stride"):
        export_gliner(tmp_path, "token-bert", Options(stride=40))
