"""Create the small random sentence-transformers models of the parity tests.

    make_model(folder, "bert", pooling="mean")

Only size and weights differ from real models: the classes of model and tokenizer are the architecture's own, the
vocabulary is trained on the package's parity and calibration texts, and sentence-transformers saves the model. The
weights are random, seeded and deliberately uneven (LayerNormalization scales far from 1, a few outlier channels), so
that errors such as a wrong axis, a missing bias or attention to padding are far above the tolerance.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertModel,
    DistilBertTokenizer,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

HIDDEN = 32
DENSE_OUT = 24
# 130 positions, of which RoBERTa and similar models do not use the first two.
POSITIONS = 130
MAX_TOKENS = 128
# The size of the vocabulary is above 2**16 / HIDDEN, so that the word embeddings are large enough to be quantized.
VOCAB_SIZE = 2300
_LAYERS, _HEADS, _INNER = 2, 4, 64
_SEED = 20260102
# The score (log probability) of single characters in Unigram vocabularies; all longer tokens have higher scores.
_RARE = -12.0

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MPNET_SPECIALS = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
_ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass(frozen=True)
class Architecture:
    """The classes of an architecture's model and tokenizer; `config(vocab_size)` returns the model's configuration."""

    config: Callable[[int], Any]
    model: type[PreTrainedModel]
    tokenizer: Callable[..., PreTrainedTokenizerBase]


def make_model(
    folder: Path,
    architecture: str,
    *,
    pooling: str | tuple[str, ...] = "mean",
    dense: str | None = None,
    normalize: bool = True,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    include_prompt: bool = True,
    max_seq_length: int = MAX_TOKENS,
    truncation_side: str = "right",
    padding_side: str = "right",
) -> Path:
    """Save a small model to a subfolder of `folder` and return its path.

    :param architecture: a key of `ARCHITECTURES`.
    :param dense: `tanh` for a projection to `DENSE_OUT` channels, `residual` for a projection without activation whose
        input is added to its output, `layernorm` for a LayerNorm instead, None for no projection.
    :param max_seq_length: the tokenizer's limit, special tokens included.
    """
    made = ARCHITECTURES[architecture]
    tokenizer = made.tokenizer(
        model_max_length=max_seq_length, truncation_side=truncation_side, padding_side=padding_side
    )
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        encoder = made.model(made.config(len(tokenizer))).eval()
        roughen(encoder)
        modules = [_as_module(encoder, tokenizer, folder / "plain"), Pooling(HIDDEN, pooling, include_prompt)]
        modules += _heads(modules[1].get_embedding_dimension(), dense, normalize)
    pipeline = SentenceTransformer(
        modules=modules, device="cpu", prompts=dict(prompts or {}), default_prompt_name=default_prompt
    )
    pipeline.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _as_module(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> nn.Module:
    """Return a `Transformer` module. It can only be loaded from a folder, which is deleted afterwards."""
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    module = Transformer(str(folder))
    shutil.rmtree(folder)
    return module


def _heads(dim: int, dense: str | None, normalize: bool) -> list[nn.Module]:
    heads: list[nn.Module] = []
    if dense == "tanh":
        heads.append(Dense(dim, DENSE_OUT, activation_function=nn.Tanh()))
    elif dense == "residual":
        heads.append(Dense(dim, dim, activation_function=nn.Identity(), use_residual=True))
    elif dense == "layernorm":
        heads.append(LayerNorm(dim))
        roughen_norms(heads[-1], outlier=4)
    elif dense is not None:
        raise ValueError(f"no recipe for dense={dense!r}")
    return [*heads, Normalize()] if normalize else heads


def roughen(encoder: nn.Module, outlier: float = 4) -> None:
    """Set uneven LayerNormalization scales, two of them `outlier` times larger, and biases other than zero.

    A new model has scales of 1 and biases of 0, so tests would not detect a missing scale or bias, and it has no
    outlier channels for SmoothQuant to smooth. Word embeddings are scaled up relative to those of positions and token
    types, so that different texts have different vectors.
    """
    roughen_norms(encoder, outlier)
    encoder.get_input_embeddings().weight.data *= 5


def roughen_norms(model: nn.Module, outlier: float) -> None:
    """Set uneven LayerNormalization scales and biases, as `roughen` does, and the biases of linear layers."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
            module.weight.data[:2] *= outlier
        if isinstance(module, (nn.LayerNorm, nn.Linear)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.05)


def _sizes(vocab_size: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.2,
        **more,
    }


def _distilbert_config(vocab_size: int) -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=vocab_size,
        max_position_embeddings=POSITIONS,
        n_layers=_LAYERS,
        n_heads=_HEADS,
        dim=HIDDEN,
        hidden_dim=_INNER,
        initializer_range=0.2,
    )


@cache
def corpus() -> tuple[str, ...]:
    """Return the lines that vocabularies are trained on: all texts in the installed package."""
    files = (("onnx_ml_bridge.parity", "sentences.txt"), ("onnx_ml_bridge.quantize", "calibration.txt"))
    texts = [resources.files(package).joinpath(name).read_text(encoding="utf-8") for package, name in files]
    return tuple(line for text in texts for line in text.split("\n") if line.strip())


@cache
def wordpiece(specials: tuple[str, ...], lowercase: bool = True) -> dict[str, int]:
    """Return a WordPiece vocabulary: the tokens of a BPE vocabulary, each with and without the prefix ##.

    The tokenizers library's WordPiece trainer breaks ties by the order of a hash table, so its vocabulary, and with it
    the model, would differ from run to run. Its BPE trainer is deterministic.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(tokenizer, trainers.BpeTrainer(vocab_size=VOCAB_SIZE // 2, show_progress=False))
    pieces = sorted(tokenizer.get_vocab())
    return {piece: index for index, piece in enumerate([*specials, *pieces, *(f"##{piece}" for piece in pieces)])}


@cache
def bytelevel_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level BPE vocabulary with its merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=list(_ROBERTA_SPECIALS),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return tokenizer.get_vocab(), _merges(tokenizer)


@cache
def unigram() -> tuple[tuple[str, float], ...]:
    """Return a Unigram vocabulary over words that Metaspace marks, as in XLM-R."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    _train(
        tokenizer,
        trainers.UnigramTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=list(_ROBERTA_SPECIALS), unk_token="<unk>", show_progress=False
        ),
    )
    # The scores are changed so that they are deterministic: their last digits depend on the order of threads, and those
    # of single characters, which the trainer adds for coverage, depend on the order of a hash table.
    scores = {token: _RARE if len(token) == 1 else round(score, 6) for token, score in _state(tokenizer)["vocab"]}
    tokens = sorted(scores.keys() - set(_ROBERTA_SPECIALS), key=lambda token: (-scores[token], token))
    return (*((special, 0.0) for special in _ROBERTA_SPECIALS), *((token, scores[token]) for token in tokens))


def _train(tokenizer: Tokenizer, trainer: Any) -> None:
    tokenizer.train_from_iterator(corpus(), trainer)


def _state(tokenizer: Tokenizer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return state


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    pairs: Sequence[Sequence[str]] = _state(tokenizer)["merges"]
    return [(left, right) for left, right in pairs]


def roberta_tokenizer(**settings: Any) -> RobertaTokenizer:
    vocab, merges = bytelevel_bpe()
    return RobertaTokenizer(vocab=dict(vocab), merges=list(merges), **settings)


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(
        lambda size: BertConfig(**_sizes(size)),
        BertModel,
        lambda **settings: BertTokenizer(vocab=dict(wordpiece(BERT_SPECIALS)), **settings),
    ),
    "roberta": Architecture(
        lambda size: RobertaConfig(**_sizes(size, type_vocab_size=1)), RobertaModel, roberta_tokenizer
    ),
    "mpnet": Architecture(
        lambda size: MPNetConfig(**_sizes(size)),
        MPNetModel,
        lambda **settings: MPNetTokenizer(vocab=dict(wordpiece(_MPNET_SPECIALS)), **settings),
    ),
    "distilbert": Architecture(
        _distilbert_config,
        DistilBertModel,
        lambda **settings: DistilBertTokenizer(vocab=dict(wordpiece(BERT_SPECIALS)), **settings),
    ),
    "xlm-roberta": Architecture(
        lambda size: XLMRobertaConfig(**_sizes(size, type_vocab_size=1)),
        XLMRobertaModel,
        lambda **settings: XLMRobertaTokenizer(vocab=list(unigram()), **settings),
    ),
}
