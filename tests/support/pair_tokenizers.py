"""Small tokenizers that join a pair of texts in different ways; a word is a token from `w0` to `w99`, or unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.runtime.pair_tokenizer import PairTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers.processors import PostProcessor

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>", "</s>")
PAD, UNK, CLS, SEP, START, END = range(len(SPECIALS))
# The id of the token `w0`
FIRST = len(SPECIALS)
WORDS = [f"w{number}" for number in range(100)]

# For every kind of tokenizer: the function that creates its post-processor, or None if it adds no special tokens.
PROCESSORS: dict[str, Callable[[], PostProcessor] | None] = {
    "bert": lambda: processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS)),
    "roberta": lambda: processors.RobertaProcessing(("</s>", END), ("<s>", START), trim_offsets=False),
    "template": lambda: processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:1 [CLS]:0 $A:1 [SEP]:0 $B:2 [SEP]:2",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    ),
    "none": None,
}


def library_tokenizer(kind: str) -> Tokenizer:
    """Return a tokenizer of the library.

    :param kind: a key of `PROCESSORS`.
    """
    processor = PROCESSORS[kind]
    return tokenizer_with(processor() if processor else None)


def tokenizer_with(processor: PostProcessor | None) -> Tokenizer:
    """Return a tokenizer of the library with this post-processor."""
    vocab = {word: index for index, word in enumerate((*SPECIALS, *WORDS, "a"))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if processor is not None:
        tokenizer.post_processor = processor
    return tokenizer


def pair_tokenizer(folder: Path, tokenizer: Tokenizer, max_tokens: int, side: str = "right") -> PairTokenizer:
    """Save a tokenizer to `folder` and return the runtime's tokenizer of pairs."""
    tokenizer.save(str(folder / "tokenizer.json"))
    spec = TokenizerSpec("tokenizer.json", tokenizer.get_vocab_size(), max_tokens, side, "[PAD]", PAD)
    return PairTokenizer(folder / spec.file, spec)


def words(count: int) -> str:
    """Return a text of `count` tokens: `w0` to `w99`, repeated."""
    return " ".join(WORDS[number % len(WORDS)] for number in range(count))


def word_ids(count: int) -> list[int]:
    """Return the token ids of `words(count)`."""
    return [FIRST + number % len(WORDS) for number in range(count)]
