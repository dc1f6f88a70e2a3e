"""The original token classification pipeline of transformers as an oracle."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from ..artifacts.golden import ExpectedEntity
from .ner.original import OriginalEntities

# What transformers writes where a tokenizer has no limit is far larger.
_NO_LIMIT = 1_000_000


def load_original(
    folder: Path, max_tokens: int, *, ignore_labels: Sequence[str] = ("O",), allow_pickle: bool = False
) -> Any:
    """Load the original as its users do, on the CPU and in float32, which is what the artifact computes in.

    :param max_tokens: the artifact's limit; a tokenizer without one of its own is given it, since the original would
        fail on longer texts, or read them in one piece, and could not read them in windows.
    """
    arguments = {} if allow_pickle else {"use_safetensors": True}
    loaded: Any = pipeline(
        "token-classification",
        model=str(folder),
        device="cpu",
        dtype=torch.float32,
        trust_remote_code=False,
        ignore_labels=list(ignore_labels),
        model_kwargs=arguments,
    )
    if loaded.tokenizer.model_max_length > _NO_LIMIT:
        loaded.tokenizer.model_max_length = max_tokens
    return loaded


def original_entities(
    pipeline: Any, texts: Sequence[str], aggregation_strategy: str, stride: int | None = None
) -> list[OriginalEntities]:
    """What the pipeline says of every text, each on its own."""
    settings = {"aggregation_strategy": aggregation_strategy} | ({} if stride is None else {"stride": stride})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words that the tokenizer does not know, once for every token
        return [_entities(pipeline, text, settings, stride) for text in texts]


def _entities(pipeline: Any, text: str, settings: dict[str, Any], stride: int | None) -> OriginalEntities:
    found = pipeline(text, **settings)
    entities = tuple(
        ExpectedEntity(
            int(entity["start"]),
            int(entity["end"]),
            str(entity.get("entity_group", entity.get("entity"))),
            float(entity["score"]),
        )
        for entity in found
    )
    tokens = pipeline.tokenizer
    whole = len(tokens(text, truncation=False, verbose=False)["input_ids"])
    limit = tokens.model_max_length
    if stride is None or whole <= limit:
        return OriginalEntities(entities, min(whole, limit), whole > limit)
    windows = tokens(text, truncation=True, stride=stride, return_overflowing_tokens=True)["input_ids"]
    return OriginalEntities(entities, sum(map(len, windows)), False)
