"""Create small random cross-encoders, on which the parity tests run.

    make_reranker(folder, "bert")

Each is a sequence classifier with one label, hidden size 128 and two layers. The tokenizers are WordPiece with token
types (bert), byte-level BPE (roberta, modernbert) and Unigram (xlm-roberta, gte). The weights are random and seeded,
and large enough that the scores of documents differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx_ml_bridge import Reranker
from onnx_ml_bridge.artifacts.constants import EXACT
from onnx_ml_bridge.artifacts.families.rerank import RERANK
from onnx_ml_bridge.artifacts.staging import BuildSettings, Staged
from onnx_ml_bridge.cli.rerank import Options
from onnx_ml_bridge.export.rerank import export
from onnx_ml_bridge.parity.rerank.inputs import RerankInput
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime import rerank
from sentence_transformers import CrossEncoder
from small_models import ARCHITECTURES, MAX_TOKENS, POSITIONS, roughen
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GteConfig,
    GteForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

HIDDEN = 128
_SEED = 20261102
_OUTLIER = 1.5
_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.1,
}
_MODERNBERT = {
    "initializer_range": 0.2,
    "local_attention": 32,
    "cls_token_id": 0,
    "sep_token_id": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True)
class Architecture:
    """The configuration and the class of a model; `tokenizer` is a key of small_models.ARCHITECTURES."""

    config: Callable[..., Any]
    model: type[PreTrainedModel]
    more: Mapping[str, Any]
    tokenizer: str


RERANKERS = {
    "bert": Architecture(BertConfig, BertForSequenceClassification, {}, "bert"),
    "roberta": Architecture(RobertaConfig, RobertaForSequenceClassification, {"type_vocab_size": 1}, "roberta"),
    "xlm-roberta": Architecture(
        XLMRobertaConfig, XLMRobertaForSequenceClassification, {"type_vocab_size": 1}, "xlm-roberta"
    ),
    "modernbert": Architecture(ModernBertConfig, ModernBertForSequenceClassification, _MODERNBERT, "roberta"),
    "gte": Architecture(GteConfig, GteForSequenceClassification, {}, "xlm-roberta"),
}


def make_reranker(
    folder: Path, kind: str, *, activation: nn.Module | None = None, num_labels: int = 1, **tokenizer: Any
) -> Path:
    """Save a small cross-encoder in `folder` and return its path.

    :param kind: a key of `RERANKERS`.
    :param activation: computes the score from the logit; the default is the identity.
    :param tokenizer: additional settings of the tokenizer.
    """
    made = RERANKERS[kind]
    text = ARCHITECTURES[made.tokenizer].tokenizer(**{"model_max_length": MAX_TOKENS, **tokenizer})
    sizes = {
        **_SIZES,
        **made.more,
        "vocab_size": len(text),
        "pad_token_id": text.pad_token_id,
        "num_labels": num_labels,
    }
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = made.model(made.config(**sizes)).eval()
        roughen(model.base_model, _OUTLIER)
    model.save_pretrained(folder / "parts")
    text.save_pretrained(folder / "parts")
    encoder = CrossEncoder(str(folder / "parts"), device="cpu", activation_fn=activation or nn.Identity())
    encoder.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def stage_reranker(folder: Path, staging: Path, *variants: str) -> Staged:
    """Export a model to a staging folder, and quantize it if int8 is among the variants."""
    settings = BuildSettings(RERANK, "small", "1", variants or (EXACT,), RERANK.gates, None, Options())
    staged = export(folder, settings, staging)
    return RERANK.module("quantize").quantize(staged) if "int8" in variants else staged


def reranker_of(staged: Staged, variant: str = EXACT, **options: Any) -> Reranker:
    """Return a reranker for a staged variant; `options` are those of the runtime's `CrossEncoder`."""
    return Reranker(rerank.CrossEncoder(rerank.staged_rerank_model(staged, variant), **options))


def random_inputs(queries: int, documents: int) -> list[RerankInput]:
    """Return random queries and documents from the parity texts, which are short, long or empty and in any script."""
    source, texts = random.Random(_SEED), parity_texts()
    return [
        RerankInput(source.choice(texts), tuple(source.choice(texts) for _ in range(documents))) for _ in range(queries)
    ]
