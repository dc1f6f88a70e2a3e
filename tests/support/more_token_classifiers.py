"""Token classifiers of further architectures, with the kinds of tokenizers that small_token_classifiers.py lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from small_models import ARCHITECTURES, bytelevel_bpe, corpus, roberta_tokenizer, unigram
from small_token_classifiers import TokenClassifier, sizes, wordpiece_of
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForTokenClassification,
    AlbertTokenizer,
    BertTokenizer,
    EuroBertConfig,
    EuroBertForTokenClassification,
    GteConfig,
    GteForTokenClassification,
    ModernBertConfig,
    ModernBertForTokenClassification,
    MPNetConfig,
    MPNetForTokenClassification,
    NomicBertConfig,
    NomicBertForTokenClassification,
    PreTrainedTokenizerFast,
)

_SPECIALS = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
# How Llama 3 splits texts: contractions, words with a character before them, up to three digits, and so on
_LLAMA3 = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def llama3_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the words of Llama 3."""
    vocab, merges = bytelevel_bpe()
    tokenizer = Tokenizer(models.BPE(dict(vocab), list(merges), ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    return _with_specials(tokenizer, **settings)


def byte_fallback_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """BPE over characters in which `▁` replaces spaces, as in Gemma; unknown characters become the bytes of UTF-8."""
    vocab, merges = _byte_fallback_bpe()
    model = models.BPE(dict(vocab), list(merges), byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    return _with_specials(_gemma(model), **settings)


def _gemma(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return tokenizer


@cache
def _byte_fallback_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = _gemma(models.BPE())
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *_BYTES]
    tokenizer.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=1500, special_tokens=specials, show_progress=False)
    )
    state = json.loads(tokenizer.to_str())["model"]
    return state["vocab"], [(left, right) for left, right in state["merges"]]


def _with_specials(tokenizer: Tokenizer, **settings: Any) -> PreTrainedTokenizerFast:
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ids
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_SPECIALS, **settings)


def _albert_tokenizer(**settings: Any) -> AlbertTokenizer:
    specials = [(special, 0.0) for special in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    tokens = [(token, score) for token, score in unigram() if not token.startswith("<")]
    return AlbertTokenizer(vocab=specials + tokens, **settings)


def _config(kind: Any, **own: Any) -> Callable[..., Any]:
    return lambda size, **more: kind(**{**sizes(size), **own, **more})


_MODERNBERT = {"local_attention": 16, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": None, "eos_token_id": None}

MORE_TOKEN_CLASSIFIERS: dict[str, TokenClassifier] = {
    "modernbert": TokenClassifier(
        _config(ModernBertConfig, pad_token_id=1, **_MODERNBERT), ModernBertForTokenClassification, llama3_tokenizer
    ),
    "eurobert": TokenClassifier(
        _config(EuroBertConfig, pad_token_id=1, num_key_value_heads=2),
        EuroBertForTokenClassification,
        byte_fallback_tokenizer,
    ),
    "albert": TokenClassifier(
        _config(AlbertConfig, embedding_size=24, pad_token_id=0), AlbertForTokenClassification, _albert_tokenizer
    ),
    "mpnet": TokenClassifier(_config(MPNetConfig), MPNetForTokenClassification, ARCHITECTURES["mpnet"].tokenizer),
    "gte": TokenClassifier(
        _config(GteConfig, pad_token_id=1), GteForTokenClassification, ARCHITECTURES["xlm-roberta"].tokenizer
    ),
    "nomic-bert": TokenClassifier(
        _config(NomicBertConfig), NomicBertForTokenClassification, wordpiece_of(BertTokenizer, lowercase=False)
    ),
    "modernbert-bytes": TokenClassifier(
        _config(ModernBertConfig, pad_token_id=1, **_MODERNBERT), ModernBertForTokenClassification, roberta_tokenizer
    ),
}
