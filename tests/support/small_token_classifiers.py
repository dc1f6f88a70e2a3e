"""Create the small random token classifiers of the parity tests.

    make_token_classifier(folder, "bert")

As in small_models.py, the models have the architectures' own classes, vocabularies trained on the package's texts, and
seeded, uneven random weights. To exercise decoding, the logits are peaked: every token has one clearly best label,
consecutive tokens often have different labels, and every label occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from small_models import (
    BERT_SPECIALS,
    HIDDEN,
    MAX_TOKENS,
    POSITIONS,
    corpus,
    roberta_tokenizer,
    roughen,
    unigram,
    wordpiece,
)
from transformers import (
    BertConfig,
    BertForTokenClassification,
    BertTokenizer,
    CamembertConfig,
    CamembertForTokenClassification,
    DebertaV2Config,
    DebertaV2ForTokenClassification,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertForTokenClassification,
    DistilBertTokenizer,
    ElectraConfig,
    ElectraForTokenClassification,
    ElectraTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForTokenClassification,
    XLMRobertaConfig,
    XLMRobertaForTokenClassification,
    XLMRobertaTokenizer,
)

# Labels of every form: with and without a prefix, with a second hyphen, with a hyphen but no prefix, and a type that
# occurs both with and without B-.
LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-GEO-LOC", "I-GEO-LOC", "MISC", "B-MISC", "E-MAIL")
_SEED = 20260203
_LAYERS, _HEADS, _INNER, _EMBEDDING = 2, 4, 64, 24
# The standard deviation of the logits: the logits of the best labels differ by a few units, and no score rounds to 1.
_PEAK = 3.0
# The factor of outlier channels. With a larger factor, tokens would hardly differ in the other channels, and the head
# would amplify rounding errors.
_OUTLIER = 1.5
# The head reads this many principal components of the hidden states, those with the largest variance.
_DIRECTIONS = 12


@dataclass(frozen=True)
class TokenClassifier:
    """The classes of an architecture's model and tokenizer; `config(vocab_size)` returns the model's configuration."""

    config: Callable[..., Any]
    model: type[PreTrainedModel]
    tokenizer: Callable[..., PreTrainedTokenizerBase]


def make_token_classifier(
    folder: Path,
    name: str | TokenClassifier,
    *,
    model_max_length: int | None = MAX_TOKENS,
    tokenizer: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Save a small token classifier to `folder` and return `folder`.

    :param name: a key of `TOKEN_CLASSIFIERS`, or the recipe of another token classifier.
    :param model_max_length: the tokenizer's limit, special tokens included; None for none.
    :param tokenizer: further settings of the tokenizer.
    :param config: further settings of the model's configuration.
    """
    made = TOKEN_CLASSIFIERS[name] if isinstance(name, str) else name
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    text = made.tokenizer(**limit, **(tokenizer or {}))
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = made.model(made.config(len(text), **(config or {}))).eval()
        roughen(model, _OUTLIER)
        _peak(model, text)
    model.save_pretrained(folder)
    text.save_pretrained(folder)
    return folder


@torch.no_grad()
def _peak(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set the weights of the head so that the logits of typical tokens are uncorrelated and have equal variance.

    With random weights, a few channels that are large for all tokens would make one or two labels the best everywhere.
    """
    states = _hidden_states(model, tokenizer)
    mean, count = states.mean(0), model.classifier.out_features
    values, vectors = torch.linalg.eigh(torch.cov((states - mean).T))
    directions = torch.linalg.qr(torch.randn(_DIRECTIONS, count)).Q  # mixes the components with the largest variance
    rows = (vectors[:, -_DIRECTIONS:] / values[-_DIRECTIONS:].sqrt()) @ directions * _PEAK
    model.classifier.weight.data = rows.T.contiguous()
    model.classifier.bias.data = -mean @ rows


def _hidden_states(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return the inputs of the classification head for all tokens of sample lines, float32 `[tokens, hidden]`."""
    seen: list[torch.Tensor] = []
    hook = model.classifier.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][0]))
    names = ("input_ids", "attention_mask")
    for line in corpus()[::12]:
        encoded = tokenizer(line, return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
        model(**{name: encoded[name] for name in names})
    hook.remove()
    return torch.cat(seen)


def sizes(size: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "hidden_size": HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.2,
        **_labels(),
        **more,
    }


def _labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}


def _distilbert(size: int, **more: Any) -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=size,
        max_position_embeddings=POSITIONS,
        n_layers=_LAYERS,
        n_heads=_HEADS,
        dim=HIDDEN,
        hidden_dim=_INNER,
        initializer_range=0.2,
        **_labels(),
        **more,
    )


def _deberta(size: int, **more: Any) -> DebertaV2Config:
    """Return a configuration like DeBERTa-v3's: only relative positions, which are bucketed, and shared projections."""
    settings = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "position_buckets": 32,
        "type_vocab_size": 0,
        **more,
    }
    return DebertaV2Config(**sizes(size, **settings))


def wordpiece_of(kind: type[BertTokenizer], lowercase: bool) -> Callable[..., PreTrainedTokenizerBase]:
    vocab = wordpiece(BERT_SPECIALS, lowercase)
    return lambda **settings: kind(vocab=dict(vocab), do_lower_case=lowercase, **settings)


def _deberta_tokenizer(**settings: Any) -> DebertaV2Tokenizer:
    pieces = [(piece, score) for piece, score in unigram() if not piece.startswith("<")]
    return DebertaV2Tokenizer(vocab=[(special, 0.0) for special in BERT_SPECIALS] + pieces, **settings)


def _unigram_tokenizer(**settings: Any) -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer(vocab=list(unigram()), **settings)


TOKEN_CLASSIFIERS: dict[str, TokenClassifier] = {
    "bert": TokenClassifier(  # cased WordPiece
        lambda size, **more: BertConfig(**sizes(size, **more)),
        BertForTokenClassification,
        wordpiece_of(BertTokenizer, lowercase=False),
    ),
    "distilbert": TokenClassifier(
        _distilbert, DistilBertForTokenClassification, wordpiece_of(DistilBertTokenizer, lowercase=True)
    ),
    "electra": TokenClassifier(  # embeddings smaller than the layers, with a projection in between
        lambda size, **more: ElectraConfig(**sizes(size, embedding_size=_EMBEDDING, **more)),
        ElectraForTokenClassification,
        wordpiece_of(ElectraTokenizer, lowercase=True),
    ),
    "roberta": TokenClassifier(  # byte-level BPE
        lambda size, **more: RobertaConfig(**sizes(size, type_vocab_size=1, **more)),
        RobertaForTokenClassification,
        roberta_tokenizer,
    ),
    "roberta-prefix": TokenClassifier(  # byte-level BPE that adds a space before the text
        lambda size, **more: RobertaConfig(**sizes(size, type_vocab_size=1, **more)),
        RobertaForTokenClassification,
        lambda **settings: roberta_tokenizer(add_prefix_space=True, **settings),
    ),
    "xlm-roberta": TokenClassifier(  # Unigram over words split at whitespace
        lambda size, **more: XLMRobertaConfig(**sizes(size, type_vocab_size=1, **more)),
        XLMRobertaForTokenClassification,
        _unigram_tokenizer,
    ),
    "camembert": TokenClassifier(
        lambda size, **more: CamembertConfig(**sizes(size, type_vocab_size=1, **more)),
        CamembertForTokenClassification,
        _unigram_tokenizer,
    ),
    "deberta-v2": TokenClassifier(
        _deberta, DebertaV2ForTokenClassification, _deberta_tokenizer
    ),  # Unigram that keeps all spaces
}
