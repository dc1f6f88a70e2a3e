"""The checks of an original encoder: its inputs, its positions, and whether padding changes its answers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from onnx_ml_bridge.export.encoder_checks import input_problems, padding_changes, position_count
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 136,
    "pad_token_id": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "convbert": {"embedding_size": 32},
    "fnet": {"tpu_short_seq_length": 136},
    "yoso": {"num_hash": 8},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "eurobert": {"num_key_value_heads": 2},
    "modernbert": {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": None, "eos_token_id": None},
}


def made(kind: Any, name: str) -> Any:
    """Return a small model; its weights are enlarged, because a new model hardly depends on other tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind.from_config(AutoConfig.for_model(name, **SIZES, **OWN.get(name, {}))).eval()
        for parameter in model.parameters():
            parameter.data *= 3 if parameter.ndim > 1 else 1
    return model


def run_of(model: Any) -> Callable[..., torch.Tensor]:
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("name", ["convbert", "fnet", "nystromformer", "yoso"])
def test_models_that_answer_differently_when_padded(name):
    run = run_of(made(AutoModelForTokenClassification, name))
    assert padding_changes(run, SIZES["vocab_size"], 1, 130, "right")


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "eurobert", "qwen3"])
def test_models_that_ignore_padding(name):
    run = run_of(made(AutoModelForTokenClassification, name))
    assert not padding_changes(run, SIZES["vocab_size"], 1, 130, "right")


@pytest.mark.parametrize(("name", "changes"), [("bert", True), ("roberta", False), ("eurobert", False)])
def test_padding_on_the_left(name, changes):
    """BERT counts positions from the left edge, RoBERTa from the first token, and the distances of EuroBERT stay."""
    run = run_of(made(AutoModelForTokenClassification, name))
    assert padding_changes(run, SIZES["vocab_size"], 1, 130, "left") == changes


def test_values_that_are_not_finite_are_a_change():
    assert padding_changes(lambda ids, mask: torch.full((*ids.shape, 4), torch.nan), 60, 1, 130, "right")


@pytest.mark.parametrize(
    ("name", "positions"),
    [("bert", 136), ("roberta", 134), ("mpnet", 134), ("bart", 136), ("gpt2", 136), ("eurobert", None), ("t5", None)],
)
def test_the_number_of_positions(name, positions):
    """It is that of the embedding module, without the entries that its padding index or its offset skips."""
    config = AutoConfig.for_model(name, **{key: SIZES[key] for key in ("vocab_size", "pad_token_id")})
    if name in ("bert", "roberta", "mpnet", "eurobert"):
        config = AutoConfig.for_model(name, **SIZES, **OWN.get(name, {}))
    elif name in ("bart", "gpt2"):
        config.max_position_embeddings = 136
    with torch.device("meta"):
        assert position_count(AutoModel.from_config(config)) == positions


def tokenizer(**values: Any) -> SimpleNamespace:
    known = {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": 128}
    return SimpleNamespace(**known | {"pad_token": "[PAD]", "pad_token_id": 0} | values)


@pytest.mark.parametrize(("name", "problems"), [("bert", []), ("layoutlm", ["the inputs bbox"])])
def test_other_inputs(name, problems):
    assert input_problems(made(AutoModelForTokenClassification, name), tokenizer()) == problems


def test_what_the_model_cannot_read():
    model = made(AutoModelForTokenClassification, "bert")
    assert input_problems(model, tokenizer(pad_token_id=SIZES["vocab_size"] - 1)) == []
    (problem,) = input_problems(model, tokenizer(pad_token_id=SIZES["vocab_size"]))
    assert "padding token '[PAD]' with the id 60, where the model has only 60 tokens" in problem
    (problem,) = input_problems(model, tokenizer(model_max_length="x"))
    assert problem == "a maximum number of tokens that is no number: 'x'"
