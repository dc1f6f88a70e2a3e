"""The original: a pipeline of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from ...artifacts.originals import original_errors


@dataclass(frozen=True)
class EmbeddingInput:
    """One text and the name of its prompt; None stands for the default prompt of the model, if it has one."""

    text: str
    prompt_name: str | None = None


@dataclass(frozen=True, eq=False)
class OriginalEmbeddings:
    """The references of n inputs: vectors float32 `[n, dim]`, token counts `[n]`, and which texts were cut `[n]`."""

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


@original_errors("sentence-transformers")
def load_original(folder: Path, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load the original on the CPU in float32, the precision of the fp32 variant."""
    arguments: dict[str, object] = {"dtype": torch.float32}
    if not allow_pickle:
        arguments["use_safetensors"] = True
    return SentenceTransformer(
        str(folder), device="cpu", trust_remote_code=False, local_files_only=True, model_kwargs=arguments
    )


@original_errors("sentence-transformers")
def original_embeddings(pipeline: SentenceTransformer, inputs: Sequence[EmbeddingInput]) -> OriginalEmbeddings:
    """Embed every input with the original.

    If its tokenizer pads on the left, every text is a batch of its own, because the padding can shift the positions.
    """
    batch = 1 if getattr(pipeline.tokenizer, "padding_side", "right") == "left" else 32
    vectors: list[NDArray[np.float32] | None] = [None] * len(inputs)
    for name in {entry.prompt_name for entry in inputs}:
        indices = [index for index, entry in enumerate(inputs) if entry.prompt_name == name]
        texts = [inputs[index].text for index in indices]
        rows = pipeline.encode(texts, prompt_name=name, batch_size=batch, show_progress_bar=False)
        for index, row in zip(indices, np.asarray(rows, np.float32), strict=True):
            vectors[index] = row
    counts = [_token_count(pipeline, entry) for entry in inputs]
    limit = pipeline.max_seq_length or max(counts)
    tokens = tuple(min(count, limit) for count in counts)
    return OriginalEmbeddings(
        np.stack([row for row in vectors if row is not None]), tokens, tuple(count > limit for count in counts)
    )


def _token_count(pipeline: SentenceTransformer, entry: EmbeddingInput) -> int:
    """Return the number of tokens of a text and its prompt before truncation."""
    name = entry.prompt_name or pipeline.default_prompt_name
    prompt = pipeline.prompts.get(name) or "" if name else ""
    return len(pipeline.tokenizer(prompt + entry.text, truncation=False, verbose=False)["input_ids"])
