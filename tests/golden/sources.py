"""Create the models of the valid artifacts: tiny and random, with every feature that the format has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import spacy
import torch
from safetensors.torch import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from small_barts import make_bart
from small_gliners import SmallGliner
from small_gliners import make_gliner as make_small_gliner
from small_pipelines import make_pipeline
from spacy.tokenizer import Tokenizer
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
from tokenizers import Tokenizer as TextTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizerFast,
)

WORDS = [
    *[
        "the",
        "a",
        "on",
        "in",
        "red",
        "green",
        "blue",
        "cat",
        "dog",
        "house",
        "tree",
        "runs",
        "sleeps",
        "sings",
        "big",
        "small",
        "and",
        "not",
    ],
    "##s",
    "##ing",
    *".,!?",
]
LETTERS = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
LOOSE = {"cosine_min": 0.9, "cosine_mean": 0.9, "cosine_min_hard": 0.8, "cosine_mean_hard": 0.8}


LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
LOOSE_ENTITIES = {"entity_f1": 0.5}
# The gate is loose, because with random weights the int8 summaries differ from the original's in most tokens
LOOSE_SUMMARIES = {"rouge_l": 0.1, "sealed_same": 0.5}
# The gate is loose, because with random weights int8 swaps documents whose scores are similar
LOOSE_RANKINGS = {"kendall_tau": 0.5, "top_1": 0.5}
# The gate is loose, because the scores of random weights are spread, and many are near the threshold
LOOSE_SPANS = {"entity_f1": 0.5}
# The standard deviation of the token classifier's logits, so high that every token has one clearly best label
_PEAK = 4.0
# The spaCy tokenizer has a few rules of every kind, because all English rules would be the largest part of the artifact
_PREFIXES = [r"\(", "\u201c", '"', r"\$", r"\.\.+", "(?=[a-z])un-"]
_SUFFIXES = [r"\)", ",", r"\.", "!", r"\?", "\u201d", '"', "'[sS]", "(?<=[0-9])k?m", ":"]
_INFIXES = ["-", "(?<=[a-z])/(?=[a-z])", r"\.\.+", "'"]
_TOKEN_MATCH = r"^[0-9]+(?:,[0-9]{3})+$|^(?i:fn)-[0-9]+$"
_URL_MATCH = r"(?:https?://)?[a-z0-9-]+\.(?:org|com)(?:/[a-z0-9/.?=#-]*)?$"
_SPECIALS = {
    "don't": [{"ORTH": "do"}, {"ORTH": "n't", "NORM": "not"}],
    "U.S.": [{"ORTH": "U.S."}],
    ":)": [{"ORTH": ":)"}],
    "a.m.": [{"ORTH": "a.m.", "NORM": "am"}],
    "(c)": [{"ORTH": "(c)", "NORM": "copyright"}],
    "\n": [{"ORTH": "\n"}],
    "o'clock": [{"ORTH": "o'clock"}],
    "10a.m.": [{"ORTH": "10"}, {"ORTH": "a.m.", "NORM": "am"}],
}


def make_embedder(folder: Path) -> None:
    """Write a BERT sentence embedder: 2 layers, 16 channels, about 100 WordPiece tokens, mean pooling, prompts."""
    _make_embedder(folder, seed=7)


def make_matryoshka_embedder(folder: Path) -> None:
    """Write another embedder of the same shape, whose artifact lists dimensions."""
    _make_embedder(folder, seed=11)


def make_static_embedder(folder: Path) -> None:
    """Write static embeddings of 16 channels for the same vocabulary, as model2vec saves them."""
    source = folder / "model"
    source.mkdir()
    tokenizer = _tokenizer().backend_tokenizer
    tokenizer.save(str(source / "tokenizer.json"))
    torch.manual_seed(12)
    save_file({"embeddings": torch.randn(tokenizer.get_vocab_size(), 16)}, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))


def _make_embedder(folder: Path, seed: int) -> None:
    fast = _tokenizer()
    torch.manual_seed(seed)
    plain = folder / "plain"
    BertModel(_config(len(fast))).save_pretrained(plain)
    fast.save_pretrained(plain)
    parts = [Transformer(str(plain)), Pooling(16, "mean"), Normalize()]
    prompts = {"query": "the big ", "document": ""}
    SentenceTransformer(modules=parts, device="cpu", prompts=prompts).save(str(folder / "model"))


def make_token_classifier(folder: Path) -> None:
    """Write a BERT token classifier with labels of every form; its layers have the same sizes as the embedder's."""
    fast = _tokenizer()
    torch.manual_seed(8)
    labels = dict(enumerate(LABELS))
    config = _config(len(fast), id2label=labels, label2id={label: index for index, label in labels.items()})
    model = BertForTokenClassification(config).eval()
    states = _states(model, fast)
    weight = torch.randn(len(LABELS), 16) / states.std(0) * _PEAK / 4
    model.classifier.weight.data, model.classifier.bias.data = weight, -weight @ states.mean(0)
    model.classifier.bias.data[0] += _PEAK / 2
    model.save_pretrained(folder / "model")
    fast.save_pretrained(folder / "model")


def make_gliner(folder: Path) -> None:
    """Write a GLiNER that scores spans: a BERT of 1 layer, an LSTM, and windows of 24 words."""
    sizes = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "max_position_embeddings": 128}
    tiny = SmallGliner(lambda: _tokenizer(128), sizes)
    make_small_gliner(folder / "model", tiny, hidden_size=8, max_len=24, max_width=4)


def make_pipeline_folder(folder: Path) -> None:
    """Write a spaCy pipeline with a parser, a shared tok2vec, static vectors, and a tokenizer with few rules."""
    nlp = spacy.blank("en")
    nlp.tokenizer = Tokenizer(
        nlp.vocab,
        rules=_SPECIALS,
        prefix_search=compile_prefix_regex(_PREFIXES).search,
        suffix_search=compile_suffix_regex(_SUFFIXES).search,
        infix_finditer=compile_infix_regex(_INFIXES).finditer,
        token_match=re.compile(_TOKEN_MATCH).match,
        url_match=re.compile(_URL_MATCH).match,
    )
    attributes = ("NORM", "PREFIX", "SUFFIX", "SHAPE", "SPACY", "IS_SPACE")
    made = make_pipeline(
        base=nlp,
        labels=("PERSON", "PLACE"),
        attributes=attributes,
        width=8,
        depth=2,
        hidden=8,
        vectors=True,
        parser=True,
        listeners=("parser",),
    )
    made.to_disk(folder / "model")


def make_summarizer(folder: Path) -> None:
    """Write a BART with 2 layers, 16 channels and a byte-level BPE vocabulary."""
    sizes = {
        "d_model": 16,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
    }
    make_bart(folder / "model", seed=9, eos_bias=4.0, **sizes)


def make_reranker(folder: Path) -> None:
    """Write a BERT cross-encoder with token types and a sigmoid; its layers have the same sizes as the embedder's."""
    fast = _tokenizer()
    torch.manual_seed(10)
    model = BertForSequenceClassification(_config(len(fast), num_labels=1)).eval()
    model.classifier.weight.data.mul_(40)  # so that scores differ
    model.classifier.bias.data.fill_(2)  # so that scores are around 0.5
    model.save_pretrained(folder / "plain")
    fast.save_pretrained(folder / "plain")
    encoder = CrossEncoder(str(folder / "plain"), device="cpu", activation_fn=torch.nn.Sigmoid())
    encoder.save_pretrained(str(folder / "model"), create_model_card=False)


@torch.no_grad()
def _states(model: BertForTokenClassification, tokenizer: BertTokenizerFast) -> torch.Tensor:
    """Return the encoder's hidden states for all tokens of nine lines of words, float32 `[tokens, 16]`."""
    lines = [" ".join(WORDS[index : index + 6]) for index in range(0, 18, 2)]
    return torch.cat([model.bert(**tokenizer(line, return_tensors="pt"))[0][0] for line in lines])


def _tokenizer(max_tokens: int = 48) -> BertTokenizerFast:
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS + LETTERS)]
    tokenizer = TextTokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_tokens)


def _config(vocab_size: int, **more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        initializer_range=0.2,
        **more,
    )
