"""Loads the original cross-encoder and computes its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from ...artifacts.originals import original_errors
from .inputs import RerankInput


@dataclass(frozen=True, eq=False)
class OriginalScores:
    """The references for n documents: scores float32 `[n]`, tokens of each pair, and whether it was truncated."""

    scores: NDArray[np.float32]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


@original_errors("sentence-transformers")
def load_original(folder: Path, *, allow_pickle: bool = False) -> CrossEncoder:
    """Load the original as its users do, on the CPU and in float32, the precision of the artifact."""
    arguments: dict[str, object] = {"dtype": torch.float32}
    if not allow_pickle:
        arguments["use_safetensors"] = True
    original: CrossEncoder = CrossEncoder(str(folder), device="cpu", local_files_only=True, model_kwargs=arguments)
    return original


@original_errors("sentence-transformers")
def predict(original: CrossEncoder, query: str, documents: Sequence[str]) -> NDArray[np.float32]:
    """Return the scores of the documents, float32 `[n]`.

    If the tokenizer pads on the left, the padding can shift positions. Such a model scores pairs one by one.
    """
    batch = 1 if original.tokenizer.padding_side == "left" else 32
    pairs = [(query, document) for document in documents]
    scores = original.predict(pairs, batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
    return np.asarray(scores, np.float32)


@original_errors("sentence-transformers")
def original_scores(original: CrossEncoder, entry: RerankInput, max_tokens: int) -> OriginalScores:
    """Return the scores and token counts of the documents of a query.

    :param max_tokens: the artifact's maximum number of tokens, which also limits an original without a limit.
    """
    tokenizer = original.tokenizer
    # Always a list of pairs: in the call for a single pair, the tokenizer would ignore an empty document
    pairs = [[entry.query, document] for document in entry.documents]
    counts = [len(ids) for ids in tokenizer(pairs, truncation=False, verbose=False)["input_ids"]]
    limit = min(max_tokens, tokenizer.model_max_length)
    scores = predict(original, entry.query, entry.documents)
    return OriginalScores(
        scores, tuple(min(count, limit) for count in counts), tuple(count > limit for count in counts)
    )
