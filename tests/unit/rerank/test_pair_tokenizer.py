"""Pairs of a query and a document: special tokens, token types and truncation, compared with the tokenizers library."""

from __future__ import annotations

import random

import numpy as np
import pytest
from onnx_ml_bridge import ArtifactError, InferenceError
from onnx_ml_bridge.runtime.pair_tokenizer import PairTemplate, kept_lengths
from pair_tokenizers import (
    CLS,
    END,
    FIRST,
    PAD,
    PROCESSORS,
    SEP,
    START,
    UNK,
    WORDS,
    library_tokenizer,
    pair_tokenizer,
    tokenizer_with,
    word_ids,
    words,
)
from tokenizers import models, processors

every_kind = pytest.mark.parametrize("kind", PROCESSORS)
both_sides = pytest.mark.parametrize("side", ["right", "left"])


def library_pairs(tokenizer, query, documents, max_tokens, side):
    """The token ids and token types of pairs by the tokenizers library, which also truncates the pairs."""
    tokenizer.enable_truncation(max_tokens, strategy="longest_first", direction=side)
    encodings = [tokenizer.encode(query, document) for document in documents]
    tokenizer.no_truncation()
    return [(tuple(encoding.ids), tuple(encoding.type_ids)) for encoding in encodings]


def random_text(source: random.Random) -> str:
    """A text of 0 to 40 tokens, some of them unknown, with different tokens at its ends."""
    return " ".join(source.choice([*WORDS, "unknown"]) for _ in range(source.choice([0, 1, 2, 3, 5, 8, 13, 25, 40])))


@pytest.mark.parametrize(
    ("query", "document", "limit", "expected"),
    [
        (3, 4, 7, (3, 4)),  # all tokens fit
        (0, 0, 2, (0, 0)),
        (3, 10, 8, (3, 5)),  # the longer text is shortened
        (10, 3, 8, (5, 3)),
        (0, 10, 8, (0, 8)),
        (4, 10, 8, (4, 4)),
        (5, 10, 8, (4, 4)),  # each text keeps half of the limit
        (10, 10, 7, (3, 4)),  # if both are equally long, the document keeps the odd token
        (10, 11, 7, (3, 4)),  # otherwise, the longer text keeps the odd token
        (11, 10, 7, (4, 3)),
        (9, 20, 8, (4, 4)),  # both texts are longer than the limit
        (20_000, 20_000, 2, (1, 1)),
    ],
)
def test_kept_lengths_by_hand(query, document, limit, expected):
    assert kept_lengths(query, document, limit) == expected


@both_sides
def test_kept_lengths_are_those_of_the_library(side):
    tokenizer, source = library_tokenizer("none"), random.Random(1)
    for limit in range(2, 24):
        lengths = [(source.randrange(60), source.randrange(60)) for _ in range(60)]
        near = [(limit // 2 + a, limit // 2 + b) for a in range(-1, 3) for b in range(-1, 3)]
        for query, document in [*lengths, *near, (limit, 0), (0, limit + 1), (limit + 1, limit + 1)]:
            tokenizer.enable_truncation(limit, strategy="longest_first", direction=side)
            sequences = tokenizer.encode(words(query), words(document)).sequence_ids
            assert kept_lengths(query, document, limit) == (sequences.count(0), sequences.count(1))


@every_kind
@both_sides
@pytest.mark.parametrize("max_tokens", [16, 17])
def test_pairs_are_those_of_the_library(tmp_path, kind, side, max_tokens):
    library, source = library_tokenizer(kind), random.Random(2)
    tokenizer = pair_tokenizer(tmp_path, library, max_tokens, side)
    for _ in range(40):
        query, documents = random_text(source), [random_text(source) for _ in range(8)]
        pairs = tokenizer.encode(query, documents)
        expected = library_pairs(library, query, documents, max_tokens, side)
        assert [(pair.ids, pair.type_ids) for pair in pairs] == expected
        whole = [len(library.encode(query, document).ids) for document in documents]
        assert [pair.truncated for pair in pairs] == [count > max_tokens for count in whole]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bert", PairTemplate(((CLS, 0),), ((SEP, 0),), ((SEP, 1),), 0, 1)),
        ("roberta", PairTemplate(((START, 0),), ((END, 0), (END, 0)), ((END, 0),), 0, 0)),
        ("template", PairTemplate(((CLS, 1), (CLS, 0)), ((SEP, 0),), ((SEP, 2),), 1, 2)),
        ("none", PairTemplate((), (), (), 0, 1)),
    ],
)
def test_the_template_is_read_from_the_tokenizer(kind, expected):
    template = PairTemplate.of(library_tokenizer(kind))
    assert template == expected
    assert len(template) == library_tokenizer(kind).num_special_tokens_to_add(is_pair=True)


@pytest.mark.parametrize("pair", ["[CLS] $B:1 [SEP] $A [SEP]", "$B $A", "$A $A $B:1", "[CLS] $A:0 $B:0 $A:1"])
def test_a_template_without_a_query_and_then_a_document_is_refused(tmp_path, pair):
    special = [("[CLS]", CLS), ("[SEP]", SEP)]
    library = tokenizer_with(processors.TemplateProcessing(single="[CLS] $A", pair=pair, special_tokens=special))
    with pytest.raises(ValueError, match="its pairs"):
        PairTemplate.of(library)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: its pairs") as refused:
        pair_tokenizer(tmp_path, library, 16)
    assert refused.value.code == "tokenizer"


@pytest.mark.parametrize(("kind", "minimum"), [("bert", 5), ("roberta", 6), ("none", 2)])
def test_each_text_of_a_pair_needs_room_for_a_token(tmp_path, kind, minimum):
    (pair,) = pair_tokenizer(tmp_path, library_tokenizer(kind), minimum).encode(words(5), [words(5)])
    assert len(pair.ids) == minimum
    with pytest.raises(ArtifactError, match=f"room for a pair, expected at least {minimum}") as refused:
        pair_tokenizer(tmp_path, library_tokenizer(kind), minimum - 1)
    assert refused.value.code == "tokenizer"


@both_sides
def test_two_very_long_texts_are_joined_without_copies_of_the_rest(tmp_path, side):
    # When it truncates a pair, the library also returns every combination of the parts that it cuts off from both
    # texts: ten million encodings here
    tokenizer, long = pair_tokenizer(tmp_path, library_tokenizer("bert"), 16, side), 20_000
    pairs = tokenizer.encode(words(long), [words(long), words(3)])
    ids = word_ids(long)
    six, seven, ten = (ids[:6], ids[:7], ids[:10]) if side == "right" else (ids[-6:], ids[-7:], ids[-10:])
    assert pairs[0].ids == (CLS, *six, SEP, *seven, SEP)
    assert pairs[1].ids == (CLS, *ten, SEP, *ids[:3], SEP)
    assert pairs[0].truncated and pairs[1].truncated


def test_no_documents_have_no_pairs_and_empty_texts_have_special_tokens_only(tmp_path):
    tokenizer = pair_tokenizer(tmp_path, library_tokenizer("bert"), 16)
    assert tokenizer.encode("w0", []) == []
    (pair,) = tokenizer.encode("", [""])
    assert (pair.ids, pair.type_ids, pair.truncated) == ((CLS, SEP, SEP), (0, 0, 1), False)


def test_a_batch_is_padded_on_the_right(tmp_path):
    tokenizer = pair_tokenizer(tmp_path, library_tokenizer("bert"), 16)
    feeds = tokenizer.pad(tokenizer.encode("w1", ["w2 other", ""]))
    assert all(array.dtype == np.int64 for array in feeds.values())
    assert {name: array.tolist() for name, array in feeds.items()} == {
        "input_ids": [[CLS, FIRST + 1, SEP, FIRST + 2, UNK, SEP], [CLS, FIRST + 1, SEP, SEP, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]],
        "token_type_ids": [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0]],
    }


def test_an_error_of_the_tokenizer_has_a_code(tmp_path):
    library = tokenizer_with(None)
    library.model = models.WordLevel({"[PAD]": PAD, "a": 1}, unk_token="[UNK]")
    tokenizer = pair_tokenizer(tmp_path, library, 16)
    with pytest.raises(InferenceError, match="the tokenizer failed"):
        tokenizer.encode("a", ["unknown"])
