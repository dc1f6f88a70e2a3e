"""Exports static embeddings: the vector of a text is the mean of the table's rows of its tokens.

The pipelines are those of sentence-transformers that start with `StaticEmbedding`, and folders of model2vec, which have
the same table but may have no modules.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.sentence_transformer.modules.static_embedding import StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from ...artifacts.constants import EXACT, TOKENIZER, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.sentence_embedding import UNLIMITED_TOKENS, EmbeddingSpec, Prompt
from ...artifacts.manifest_sections import TokenizerSpec
from ...graphs.files import save_graph
from ..checkpoints import typed_errors
from .dimensions import checked_dimension, ends_normalized, truncation
from .pipeline import EmbeddingExport, SentenceEncoder, copy_configuration, trace
from .prompts import checked_prompts

_PAD_TOKENS = ("[PAD]", "<pad>")


def is_model2vec(folder: Path) -> bool:
    """Return whether a folder has a model of model2vec that has no modules.json."""
    if (folder / "modules.json").exists():
        return False
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "model2vec"


def load_model2vec(folder: Path) -> SentenceTransformer:
    """Load tokenizer.json and the table of a model2vec folder; config.json says whether vectors have the length 1.

    :raises BuildError: with the code `source` if a file cannot be read.
    """
    with typed_errors(folder, "sentence-transformers"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        table = StaticEmbedding.load(str(folder), local_files_only=True)
        heads: list[nn.Module] = [Normalize()] if config.get("normalize") else []  # model2vec's default is false
        return SentenceTransformer(modules=[table, *heads], device="cpu")


def is_static(pipeline: SentenceTransformer) -> bool:
    """Return whether a pipeline starts with a table of static embeddings."""
    return isinstance(pipeline[0], StaticEmbedding)


def export_static(pipeline: SentenceTransformer, folder: Path, staging: Path) -> EmbeddingExport:
    """Export a loaded pipeline into `staging`: graph, tokenizer, and the configuration files of `folder`.

    :raises BuildError: with the code `unsupported_model`, naming the modules that cannot be reproduced.
    """
    modules: list[Any] = list(pipeline)
    static, heads = modules[0], modules[1:]
    _refuse_heads(heads)
    tokenizer = _describe_tokenizer(static)
    table = static.embedding.weight.detach().to(torch.float32)
    cut = truncation(pipeline)
    module = SentenceEncoder(TableEncoder(table), Pooling(static.embedding_dim, "mean"), heads, cut)
    graph = trace(module, static.num_embeddings, with_types=False, pad_id=tokenizer.pad_token_id)
    dim, normalized = checked_dimension(pipeline, graph), ends_normalized(heads, cut)
    spec = _describe(pipeline, static, dim, normalized=normalized)
    file = graph_file("model", EXACT)
    copy_configuration(folder, staging)
    (staging / TOKENIZER).write_text(_without_special_tokens(static.tokenizer).to_str(), encoding="utf-8")
    save_graph(graph, staging, file)
    return EmbeddingExport(graph, file, tokenizer, spec)


class TableEncoder(nn.Module):
    """A table of embeddings in the place of an encoder; every token has the vector of its row."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding(table.shape[0], table.shape[1], _weight=table)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        """Look up the rows of token ids, int64 `[batch, tokens]`: float32 `[batch, tokens, dim]`."""
        return BaseModelOutput(last_hidden_state=self.table(input_ids))


def _refuse_heads(heads: Sequence[nn.Module]) -> None:
    problems = [f"a {type(head).__name__} module" for head in heads if type(head) not in (Dense, Normalize)]
    problems += [
        f"a {type(head).__name__} that reads {head.module_input_name}"
        for head in heads
        if getattr(head, "module_input_name", "sentence_embedding") != "sentence_embedding"
    ]
    if problems:
        raise BuildError("unsupported_model", f"the pipeline has {'; '.join(problems)} after its static embeddings")


def _describe_tokenizer(static: StaticEmbedding) -> TokenizerSpec:
    tokenizer = static.tokenizer
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if not ids or max(ids) >= static.num_embeddings:
        raise BuildError(
            "unsupported_model",
            f"the table has {static.num_embeddings} rows, but the tokenizer has ids up to {max(ids, default='none')}",
        )
    limit = tokenizer.truncation or {}
    # Padding is not part of the mean, so that any token can stand for it
    known = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    pad_id = next((number for number in known if number is not None), min(ids))
    return TokenizerSpec(
        file=TOKENIZER,
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        max_tokens=int(limit.get("max_length", UNLIMITED_TOKENS)),
        truncation_side=str(limit.get("direction", "right")),
        pad_token=str(tokenizer.id_to_token(pad_id)),
        pad_token_id=pad_id,
    )


def _without_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that adds no special tokens, as static embeddings are computed, and never cuts or pads."""
    state = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**state, "post_processor": None, "truncation": None, "padding": None}))


def _describe(pipeline: SentenceTransformer, static: StaticEmbedding, dim: int, *, normalized: bool) -> EmbeddingSpec:
    prompts = {
        name: Prompt(text, len(static.tokenizer.encode(text, add_special_tokens=False).ids))
        for name, text in checked_prompts(pipeline).items()
    }
    default = pipeline.default_prompt_name
    similarity = getattr(pipeline.similarity_fn_name, "value", pipeline.similarity_fn_name) or "cosine"
    return EmbeddingSpec(
        dim=dim,
        pooling=("mean",),
        include_prompt=True,
        normalized=normalized,
        prompts=prompts,
        default_prompt=default if default in prompts else None,
        similarity=str(similarity),
    )
