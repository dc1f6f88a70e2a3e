"""Create the tokenizers of small mBART and Pegasus models, from a trained vocabulary or from a SentencePiece model.

    UNIGRAM_TOKENIZERS["pegasus"](model_max_length=64)
    save_sentencepiece(folder, "pegasus")

The vocabulary is that of `small_models.unigram`. A SentencePiece model is trained on the same texts. It also has the
table with which SentencePiece normalizes characters (nmt_nfkc), as the models of real checkpoints do.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from small_models import corpus, unigram
from transformers import MBart50Tokenizer, MBartTokenizer, PegasusTokenizer
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES as CODES
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as CODES_50

LANGUAGE = "fr_XX"
_MBART_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_PEGASUS_SPECIALS = ("<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{index}>" for index in range(2, 103)), "<unk>")
_VOCAB_SIZE = 1500


def _mbart_tokenizer(**settings: Any) -> MBartTokenizer:
    vocab = _vocabulary(_MBART_SPECIALS, (*CODES, "<mask>"))
    return MBartTokenizer(vocab=vocab, src_lang=LANGUAGE, tgt_lang=LANGUAGE, **settings)


def _mbart50_tokenizer(**settings: Any) -> MBart50Tokenizer:
    vocab = _vocabulary(_MBART_SPECIALS, (*CODES_50, "<mask>"))
    return MBart50Tokenizer(vocab=vocab, src_lang=LANGUAGE, tgt_lang=LANGUAGE, **settings)


def _pegasus_tokenizer(**settings: Any) -> PegasusTokenizer:
    return PegasusTokenizer(vocab=_vocabulary(_PEGASUS_SPECIALS, ()), **settings)


UNIGRAM_TOKENIZERS: dict[str, Callable[..., Any]] = {
    "mbart": _mbart_tokenizer,
    "mbart50": _mbart50_tokenizer,
    "pegasus": _pegasus_tokenizer,
}
# The class of each tokenizer, and the name of its SentencePiece model
_FILES = {
    "mbart": ("MBartTokenizer", "sentencepiece.bpe.model"),
    "mbart50": ("MBart50Tokenizer", "sentencepiece.bpe.model"),
    "pegasus": ("PegasusTokenizer", "spiece.model"),
}


def save_sentencepiece(folder: Path, name: str, **settings: Any) -> Path:
    """Write a SentencePiece model and tokenizer_config.json to `folder`, as a checkpoint without tokenizer.json."""
    kind, file = _FILES[name]
    (folder / file).write_bytes(_sentencepiece_model(name == "pegasus"))
    languages = {} if name == "pegasus" else {"src_lang": LANGUAGE, "tgt_lang": LANGUAGE}
    config = {"tokenizer_class": kind, **languages, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@cache
def _sentencepiece_model(is_pegasus: bool) -> bytes:
    """Return a trained SentencePiece model; that of a Pegasus begins with padding and end token."""
    import sentencepiece

    model = io.BytesIO()
    specials = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if is_pegasus else {}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        vocab_size=_VOCAB_SIZE,
        normalization_rule_name="nmt_nfkc",
        num_threads=1,
        minloglevel=2,
        **specials,
    )
    return model.getvalue()


def _vocabulary(first: tuple[str, ...], last: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the trained tokens with their scores, between special tokens."""
    tokens = [(token, score) for token, score in unigram() if token not in {*_MBART_SPECIALS, "<mask>"}]
    return [*((token, 0.0) for token in first), *tokens, *((token, 0.0) for token in last)]
