"""Weights that transformers drops: heads of the class that saved a checkpoint, and poolers where nothing uses them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_checkpoints import change_json, change_weights
from onnx_ml_bridge.export import rerank
from onnx_ml_bridge.export.sentence_embedding.pipeline import load_pipeline
from refusing import refused
from small_models import make_model
from small_rerankers import make_reranker
from transformers import BertConfig, BertForPreTraining

pytestmark = pytest.mark.families("sentence_embedding", "rerank")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def add_heads(folder: Path, architectures: Any, *others: str) -> None:
    """Save the encoder as a part of BertForPreTraining, whose heads are new, and other weights with these names."""
    heads = BertForPreTraining(BertConfig.from_pretrained(folder)).state_dict()
    added = {name: tensor.clone() for name, tensor in heads.items() if name.startswith("cls.")}
    added |= {name: torch.ones(3) for name in others}
    change_weights(folder, lambda weights: {f"bert.{name}": each for name, each in weights.items()} | added)
    change_json(folder / "config.json", architectures=architectures)


@pytest.mark.parametrize("architecture", ["BertForPreTraining", "BertForMaskedLM"])
def test_the_heads_of_pretraining_are_dropped(pristine, folder, architecture):
    """Checkpoints of BertForMaskedLM often have the other head too, whose class has both."""
    add_heads(folder, [architecture])
    loaded, expected = (load_pipeline(each)[0].model.state_dict() for each in (folder, pristine))
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize("architectures", [[], None, ["RobertaForMaskedLM"], ["Trap"], ["PreTrainedModel"], ["torch"]])
def test_heads_of_no_class_of_the_type_are_refused(folder, architectures):
    add_heads(folder, architectures)
    with refused("unsupported_model", "unexpected", "cls.predictions.bias"):
        load_pipeline(folder)


@pytest.mark.parametrize("name", ["bert.encoder.layer.0.x.weight", "encoder.layer.0.x.weight", "cls.other.weight"])
def test_other_weights_are_refused_beside_heads(folder, name):
    add_heads(folder, ["BertForPreTraining"], name)
    with refused("unsupported_model", f"unexpected: {name.removeprefix('bert.')}|unexpected: {name}"):
        load_pipeline(folder)


@pytest.mark.parametrize("kind", ["bert", "gte"])
def test_a_reranker_needs_its_pooler(tmp_path, kind):
    folder = make_reranker(tmp_path, kind)
    assert rerank.load_model(folder)
    change_weights(folder, lambda weights: {name: weights[name] for name in weights if "pooler" not in name})
    with refused("unsupported_model", "missing", f"{kind}.pooler.dense.weight", "trained for ranking"):
        rerank.load_model(folder)


def test_a_pooler_that_no_head_reads_may_be_left_over(tmp_path):
    folder = make_reranker(tmp_path, "roberta")
    change_weights(folder, lambda weights: weights | {"roberta.pooler.dense.weight": torch.zeros(3, 3)})
    assert rerank.load_model(folder)
