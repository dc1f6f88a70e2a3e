"""The original sentence-transformers pipeline as an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class EmbeddingInput:
    """One text with the prompt it is embedded under; None means the model's default prompt, if it has one."""

    text: str
    prompt_name: str | None = None


@dataclass(frozen=True)
class OriginalEmbeddings:
    """The original's answers to n inputs: vectors float32 `[n, dim]`, token counts `[n]`, which were cut `[n]`."""

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


def load_original(folder: Path, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load the original as its users do, on the CPU and in float32, which is what the artifact computes in."""
    arguments: dict[str, object] = {"dtype": torch.float32}
    if not allow_pickle:
        arguments["use_safetensors"] = True
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=arguments)


def original_embeddings(pipeline: SentenceTransformer, inputs: Sequence[EmbeddingInput]) -> OriginalEmbeddings:
    """Embed every input with the original.

    An original that pads on the left may shift a text's positions by its neighbours' lengths; alone it has one answer.
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
    """Tokens of the whole text with its prompt, before it is cut."""
    name = entry.prompt_name or pipeline.default_prompt_name
    prompt = pipeline.prompts.get(name) or "" if name else ""
    return len(pipeline.tokenizer(prompt + entry.text, truncation=False, verbose=False)["input_ids"])
