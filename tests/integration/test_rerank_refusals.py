"""Rerankers that cannot be reproduced are refused; the error names the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from changed_checkpoints import change_json
from onnx_ml_bridge.export.rerank import export_model, load_model
from refusing import refused
from sentence_transformers import CrossEncoder
from small_rerankers import make_reranker
from torch import Tensor

pytestmark = pytest.mark.families("rerank")
SETTINGS = "sentence_bert_config.json"
LOGITS = {"method": "forward", "method_output_name": "logits"}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def export(encoder: CrossEncoder, folder: Path) -> None:
    """Export to a staging folder, which must be empty if the export is refused."""
    staging = folder.parent / "staging"
    staging.mkdir()
    try:
        export_model(encoder, folder, staging)
    finally:
        assert not list(staging.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gliner"}, ["'gliner'", "transformers has no class"]),
        ({"model_type": "vit"}, ["'vit'", "no class with this head", "ForSequenceClassification"]),
        ({"architectures": ["BertForMaskedLM"]}, ["BertForMaskedLM, not BertForSequenceClassification"]),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, ["already quantized"]),
    ],
)
def test_other_heads_are_refused_before_loading(folder, changes, words):
    change_json(folder / "config.json", **changes)
    (folder / "model.safetensors").unlink()
    with refused("unsupported_model", *words):
        load_model(folder)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (SETTINGS, {"query_length": 8}, ["query_length = 8"]),
        (SETTINGS, {"processing_kwargs": {"text": {"truncation": "only_second"}}}, ["text.truncation = 'only_second'"]),
        ("tokenizer_config.json", {"split_special_tokens": True}, ["split_special_tokens"]),
        (SETTINGS, {"modality_config": {"text": LOGITS, "message": LOGITS}}, ["text, message"]),
        ("config.json", {"is_decoder": True}, ["is_decoder"]),
    ],
)
def test_settings_that_change_what_the_model_reads(folder, file, changes, words):
    change_json(folder / file, **changes)
    with refused("unsupported_model", *words):
        export(load_model(folder), folder)


def test_a_model_whose_answers_depend_on_padding(folder):
    encoder = load_model(folder)

    def add_mean(module: object, inputs: object, output: Tensor) -> Tensor:
        return output + output.mean(1, keepdim=True)  # the mean includes the padding

    model: Any = encoder.model
    model.bert.embeddings.register_forward_hook(add_mean)
    with refused("unsupported_model", "BertForSequenceClassification itself answers differently", "right"):
        export(encoder, folder)


def test_other_inputs(folder):
    encoder = load_model(folder)
    encoder.tokenizer.model_input_names = ["input_ids", "attention_mask", "bbox"]
    with refused("unsupported_model", "the inputs bbox"):
        export(encoder, folder)
