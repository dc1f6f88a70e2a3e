"""The original: a pipeline of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.sentence_transformer.modules.static_embedding import StaticEmbedding
from sentence_transformers.util import truncate_embeddings
from tokenizers import Tokenizer
from torch import nn

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
def load_original(folder: Path, pooling: str | None = None, *, allow_pickle: bool = False) -> SentenceTransformer:
    """Load the original on the CPU in float32, the precision of the fp32 variant.

    :param pooling: the pooling of a checkpoint without modules.json; None for a pipeline.
    """
    arguments: dict[str, object] = {"dtype": torch.float32}
    if not allow_pickle:
        arguments["use_safetensors"] = True
    if (folder / "modules.json").is_file():
        pipeline = SentenceTransformer(
            str(folder), device="cpu", trust_remote_code=False, local_files_only=True, model_kwargs=arguments
        )
        return pipeline.float()  # the tables of static embeddings can be float16
    modules = _static_modules(folder) if pooling is None else _pooled_modules(folder, pooling, arguments)
    return SentenceTransformer(modules=modules, device="cpu").float()


def _pooled_modules(folder: Path, pooling: str, arguments: dict[str, object]) -> list[nn.Module]:
    safe: dict[str, object] = {"trust_remote_code": False, "local_files_only": True}
    transformer = Transformer(str(folder), model_kwargs=arguments | safe, processor_kwargs=safe, config_kwargs=safe)
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling)]


def _static_modules(folder: Path) -> list[nn.Module]:
    """Return the modules of a folder of model2vec."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    table = StaticEmbedding.load(str(folder), local_files_only=True)
    return [table, Normalize()] if config.get("normalize") else [table]  # model2vec's default is false


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
    limit = _limit(pipeline) or max(counts)
    tokens = tuple(min(count, limit) for count in counts)
    return OriginalEmbeddings(
        np.stack([row for row in vectors if row is not None]), tokens, tuple(count > limit for count in counts)
    )


@original_errors("sentence-transformers")
def shortened_originals(
    pipeline: SentenceTransformer, original: OriginalEmbeddings, dimensions: Iterable[int]
) -> dict[int, NDArray[np.float32]]:
    """Return shorter references, float32 `[n, dimensions]`, by their number of dimensions.

    They are those of `encode` with `truncate_dim`, and with `normalize_embeddings` if the model's vectors have the
    length 1: its last module normalizes them, and it has no `truncate_dim` of its own that cuts them again.
    """
    with pipeline.truncate_embeddings(None):
        whole = pipeline.get_embedding_dimension()
    normalizes = isinstance(pipeline[-1], Normalize) and original.vectors.shape[1] == whole
    references = {}
    for number in dimensions:
        cut = truncate_embeddings(torch.from_numpy(original.vectors), number)
        references[number] = (torch.nn.functional.normalize(cut, p=2, dim=1) if normalizes else cut).numpy()
    return references


def _token_count(pipeline: SentenceTransformer, entry: EmbeddingInput) -> int:
    """Return the number of tokens of a text and its prompt before truncation."""
    name = entry.prompt_name or pipeline.default_prompt_name
    prompt = pipeline.prompts.get(name) or "" if name else ""
    if isinstance(pipeline[0], StaticEmbedding):
        tokenizer = Tokenizer.from_str(pipeline[0].tokenizer.to_str())
        tokenizer.no_truncation()
        return len(tokenizer.encode(prompt + entry.text, add_special_tokens=False).ids)
    return len(pipeline.tokenizer(prompt + entry.text, truncation=False, verbose=False)["input_ids"])


def _limit(pipeline: SentenceTransformer) -> int | None:
    """Return the maximum number of tokens of a text, None if there is none."""
    if isinstance(pipeline[0], StaticEmbedding):
        truncation = pipeline[0].tokenizer.truncation
        return None if truncation is None else int(truncation["max_length"])
    return pipeline.max_seq_length
