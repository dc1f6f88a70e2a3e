"""Create small random sentence-transformers models of many architectures, for the matrix of architectures.

    make_encoder(folder, ENCODERS["qwen3"])

Like the models of small_models.py, they have the architectures' own classes, vocabularies trained on the package's
texts and seeded, uneven weights. Their hidden size is 128: with less, the error of int8 says little about real models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from small_models import ARCHITECTURES, BERT_SPECIALS, MAX_TOKENS, POSITIONS, roberta_tokenizer, unigram, wordpiece
from torch import nn
from transformers import (
    AlbertTokenizer,
    AutoConfig,
    AutoModel,
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedModel,
    T5EncoderModel,
)

HIDDEN = 128
_LAYERS, _HEADS, _INNER, _WINDOW = 2, 4, 256, 32
_SEED = 20261126
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}


@dataclass(frozen=True)
class Encoder:
    """An architecture: its `model_type`, further settings of its configuration, its tokenizer, and its pipeline.

    `heads` are the modules after pooling, of which `Normalize` is added last.
    """

    model_type: str
    tokenizer: Callable[..., Any]
    config: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"
    padding_side: str = "right"
    heads: Callable[[], list[nn.Module]] = list
    prompts: dict[str, str] = field(default_factory=dict)
    model: Callable[[Any], PreTrainedModel] = AutoModel.from_config


def make_encoder(folder: Path, encoder: Encoder) -> Path:
    """Save a small model to a subfolder of `folder`, and return its path."""
    tokenizer = encoder.tokenizer(model_max_length=MAX_TOKENS, padding_side=encoder.padding_side)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = encoder.model(_config(encoder, tokenizer)).float().eval()
        _roughen(model)
        heads = encoder.heads()
    model.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain")), Pooling(HIDDEN, encoder.pooling), *heads, Normalize()]
    shutil.rmtree(folder / "plain")
    pipeline = SentenceTransformer(modules=modules, device="cpu", prompts=dict(encoder.prompts))
    pipeline.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _config(encoder: Encoder, tokenizer: Any) -> Any:
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
    }
    renamed = encoder.config.get("names", {})
    sizes = {renamed.get(name, name): value for name, value in sizes.items()}
    more = {name: value for name, value in encoder.config.items() if name != "names"}
    return AutoConfig.for_model(encoder.model_type, **{**sizes, **more})


@torch.no_grad()
def _roughen(model: nn.Module) -> None:
    """Enlarge the weights of a new model, and make the scales of its norms uneven, with two outlier channels.

    The scales of RMS norms count from 0 or from 1, depending on the architecture, so they are changed, not set.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.mul_(3)
        elif name.endswith("bias"):
            parameter.add_(torch.randn_like(parameter) * 0.05)
        elif len(parameter) == HIDDEN:
            parameter.add_(torch.randn_like(parameter) * 0.2)
            parameter[:2] *= 4


def _wordpiece_tokenizer(**settings: Any) -> BertTokenizer:
    return BertTokenizer(vocab=dict(wordpiece(BERT_SPECIALS)), **settings)


def _unigram_with(kind: Any, specials: tuple[str, ...]) -> Callable[..., Any]:
    tokens = [(token, score) for token, score in unigram() if not token.startswith("<")]
    return lambda **settings: kind(vocab=[(special, 0.0) for special in specials] + tokens, **settings)


def _linear(inputs: int, outputs: int) -> Dense:
    return Dense(inputs, outputs, bias=False, activation_function=nn.Identity())


_DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "position_buckets": 32,
    "type_vocab_size": 0,
}
_DISTILBERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}
_T5 = {
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
}
_GEMMA = {
    "num_key_value_heads": 2,
    "head_dim": 32,
    "use_bidirectional_attention": True,
    "sliding_window": _WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
_MODERNBERT = {
    "local_attention": _WINDOW,
    "cls_token_id": 0,
    "sep_token_id": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}
_CAUSAL: dict[str, Any] = {"pooling": "lasttoken", "padding_side": "left"}
_XLMR = ARCHITECTURES["xlm-roberta"].tokenizer

ENCODERS: dict[str, Encoder] = {
    "bert": Encoder("bert", _wordpiece_tokenizer),
    "roberta": Encoder("roberta", roberta_tokenizer, {"type_vocab_size": 1}),
    "xlm-roberta": Encoder("xlm-roberta", _XLMR, {"type_vocab_size": 1}),
    "mpnet": Encoder("mpnet", ARCHITECTURES["mpnet"].tokenizer),
    "distilbert": Encoder("distilbert", ARCHITECTURES["distilbert"].tokenizer, {"names": _DISTILBERT}),
    "albert": Encoder("albert", _unigram_with(AlbertTokenizer, ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"))),
    "electra": Encoder("electra", _wordpiece_tokenizer, {"embedding_size": 32}),
    "deberta-v2": Encoder("deberta-v2", _unigram_with(DebertaV2Tokenizer, BERT_SPECIALS), _DEBERTA),
    "modernbert": Encoder("modernbert", roberta_tokenizer, _MODERNBERT, heads=lambda: [LayerNorm(HIDDEN)]),
    "nomic-bert": Encoder("nomic_bert", _wordpiece_tokenizer),
    "jina-embeddings-v3": Encoder("jina_embeddings_v3", _XLMR, {"type_vocab_size": 1}),
    "gte": Encoder("gte", _XLMR, pooling="cls"),
    "eurobert": Encoder("eurobert", roberta_tokenizer, {"num_key_value_heads": 2}),
    "embedding-gemma": Encoder(
        "gemma3_text",
        roberta_tokenizer,
        _GEMMA,
        heads=lambda: [_linear(HIDDEN, 4 * HIDDEN), _linear(4 * HIDDEN, HIDDEN)],
        prompts=PROMPTS,
    ),
    "t5-encoder": Encoder(
        "t5", roberta_tokenizer, {"names": _T5, "d_kv": 32, "decoder_start_token_id": 1}, model=T5EncoderModel
    ),
    "qwen3": Encoder("qwen3", roberta_tokenizer, {"num_key_value_heads": 2, "head_dim": 32}, **_CAUSAL),
    "llama": Encoder("llama", roberta_tokenizer, {"num_key_value_heads": 2}, **_CAUSAL),
}
# Not part of the matrix: the model whose checkpoints exist with attention in both directions, and one that ignores the
# attention mask
QWEN2 = Encoder("qwen2", roberta_tokenizer, {"num_key_value_heads": 2})
FNET = Encoder("fnet", _wordpiece_tokenizer, {"tpu_short_seq_length": POSITIONS})
