"""Create small static embeddings with the vocabulary of the small BERT models: random and seeded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules.static_embedding import StaticEmbedding
from small_models import ARCHITECTURES
from tokenizers import Tokenizer
from torch import nn

DIM = 48
_SEED = 20260103


def static_tokenizer() -> Tokenizer:
    """Return the tokenizer of the small BERT models, with its special tokens, which static embeddings leave out."""
    return Tokenizer.from_str(ARCHITECTURES["bert"].tokenizer().backend_tokenizer.to_str())


def table(rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return random embeddings `[rows, DIM]`."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(rows, DIM, generator=generator).to(dtype)


def make_static(folder: Path, *, normalize: bool = True, dense: bool = False, max_length: int | None = None) -> Path:
    """Save static embeddings with sentence-transformers and return their folder.

    :param dense: whether a projection to 32 channels follows.
    :param max_length: the number of tokens to which tokenizer.json cuts texts, None for none.
    """
    tokenizer = static_tokenizer()
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
    static = StaticEmbedding(tokenizer, embedding_weights=table(tokenizer.get_vocab_size()))
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        heads: list[nn.Module] = [Dense(DIM, 32, activation_function=nn.Tanh())] if dense else []
    heads += [Normalize()] if normalize else []
    prompts = {"query": "find what answers this: "}
    SentenceTransformer(modules=[static, *heads], device="cpu", prompts=prompts).save(
        str(folder / "model"), create_model_card=False
    )
    return folder / "model"


def make_model2vec(
    folder: Path, *, normalize: bool | None = True, dtype: torch.dtype = torch.float32, shared_rows: bool = False
) -> Path:
    """Write a folder as model2vec saves it, without modules.json, and return it.

    :param normalize: whether vectors have the length 1; None leaves it out of config.json.
    :param shared_rows: whether tokens share rows of a smaller table and have weights of their own, as in models with a
        quantized vocabulary.
    """
    source, tokenizer = folder / "model", static_tokenizer()
    source.mkdir(parents=True)
    tokenizer.save(str(source / "tokenizer.json"))
    tokens = tokenizer.get_vocab_size()
    tensors = {"embeddings": table(tokens // 4 if shared_rows else tokens, dtype)}
    if shared_rows:
        generator = torch.Generator().manual_seed(_SEED)
        tensors["mapping"] = torch.randint(0, tokens // 4, (tokens,), generator=generator)
        tensors["weights"] = torch.rand(tokens, generator=generator, dtype=torch.float64)
    save_file(tensors, source / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": DIM}
    config |= {} if normalize is None else {"normalize": normalize}
    (source / "config.json").write_text(json.dumps(config))
    return source
