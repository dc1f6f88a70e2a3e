"""Small random models that read more tokens than plain attention, and texts at the borders of blocks and windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from small_models import ARCHITECTURES, BERT_SPECIALS, roughen
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    Gemma2Config,
    Gemma3TextConfig,
    ModernBertConfig,
    MPNetConfig,
)

MAX_TOKENS = 1200
LAYERS = 2
HIDDEN = 32
WINDOW = 100
_SEED = 20261127
_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_TOKENS + 2,
    "initializer_range": 0.2,
}
_MODERNBERT = {"bos_token_id": None, "eos_token_id": None, "cls_token_id": 2, "sep_token_id": 3}
_GEMMA = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": WINDOW}
_GEMMA |= {"layer_types": ["sliding_attention", "full_attention"]}

# The configurations by name: every kind of mask, heads that share keys, and capped scores
CONFIGS: dict[str, Callable[..., Any]] = {
    "bert": BertConfig,
    "modernbert": lambda **sizes: ModernBertConfig(
        **sizes, **_MODERNBERT, local_attention=WINDOW, global_attn_every_n_layers=2
    ),
    "gemma2 (causal)": lambda **sizes: Gemma2Config(**sizes, **_GEMMA, attn_logit_softcapping=5.0),
    "gemma3 (bidirectional)": lambda **sizes: Gemma3TextConfig(**sizes, **_GEMMA, use_bidirectional_attention=True),
}
# Configurations whose attention stays plain
PLAIN: dict[str, Callable[..., Any]] = {
    "mpnet": MPNetConfig,
    "deberta-v2": lambda **sizes: DebertaV2Config(**sizes, relative_attention=True, pos_att_type=["c2p", "p2c"]),
}


def make_encoder(config: Callable[..., Any], *, head: Any = AutoModel, **settings: Any) -> Any:
    """Return a model with random weights.

    :param config: a value of `CONFIGS` or `PLAIN`.
    :param head: the class of transformers that adds the head.
    """
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        tokens = len(_tokenizer())
        return head.from_config(config(vocab_size=tokens, pad_token_id=0, **_SIZES, **settings)).float().eval()


def make_pipeline(folder: Path, name: str) -> Path:
    """Save a sentence embedding model with a BERT tokenizer to a subfolder of `folder` and return its path."""
    encoder = make_encoder(CONFIGS[name])
    if name == "bert":
        roughen(encoder)
    encoder.save_pretrained(folder / "plain")
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (name == "bert")
    _tokenizer(model_input_names=inputs).save_pretrained(folder / "plain")
    pipeline = SentenceTransformer(modules=[Transformer(str(folder / "plain")), Pooling(HIDDEN)], device="cpu")
    pipeline.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def make_classifier(folder: Path, *, num_labels: int, for_tokens: bool) -> Path:
    """Save a BERT classifier of tokens or of texts, and its tokenizer, in `folder`."""
    head = AutoModelForTokenClassification if for_tokens else AutoModelForSequenceClassification
    make_encoder(BertConfig, head=head, num_labels=num_labels).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def long_texts() -> list[str]:
    """Return texts with these numbers of tokens: around the borders of blocks and windows, and more than the limit."""
    lengths = (3, 49, 50, 51, 52, 100, 101, 102, 255, 256, 257, 511, 512, 513, 1000, 1199, 1200, 1300)
    # Special tokens are added on both sides
    words = sorted(word for word in _tokenizer().vocab if word.isascii() and word.isalpha() and len(word) == 1)
    return [" ".join(words[(5 * index + length) % len(words)] for index in range(length - 2)) for length in lengths]


def _tokenizer(**settings: Any) -> Any:
    return ARCHITECTURES["bert"].tokenizer(model_max_length=MAX_TOKENS, **settings)


assert BERT_SPECIALS[0] == "[PAD]"  # the padding token of all configurations is 0
