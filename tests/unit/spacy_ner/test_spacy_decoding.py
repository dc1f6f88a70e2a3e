"""Decoding entities from the graph's outputs and sentences from heads, on values computed by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts.errors import InferenceError
from onnx_ml_bridge.artifacts.families.spacy_ner import SpacyNer, SpacyParser
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.spacy_ner.decoding import EntityDecoder
from onnx_ml_bridge.runtime.spacy_ner.parser import SentenceParser
from onnx_ml_bridge.runtime.spacy_ner.tables import StateLayer, Tables
from onnx_ml_bridge.runtime.spacy_ner.tree import Tree


def tables(within: Sequence[float], last: Sequence[float], bias: Sequence[float]) -> Tables:
    """Return tables with one hidden unit, the given weights of I- and L- for every label, and output biases of zero."""
    weight = np.array([within, last], np.float32).T[:, :, None]
    return Tables(
        norms={},
        vector_keys=None,
        vector_rows=None,
        ner_bias=np.array(bias, np.float32),
        ner_weight=weight,
        ner_output_bias=np.zeros((len(within), 2), np.float32),
        parser=None,
    )


def network(pieces: int = 1, tie: str = "in") -> SpacyNer:
    return SpacyNer(columns=(), vectors=False, context=1, hidden=1, pieces=pieces, tie=tie)


def decode(
    decoder: EntityDecoder, rows: Sequence[tuple[Any, ...]], ends: Sequence[int], cuts: Sequence[int] = ()
) -> list[tuple[int, int, int]]:
    """Decode tokens given as rows (label, begins, current, first, previous), in slices that begin at 0 and `cuts`."""
    bounds = [0, *cuts, len(rows)]
    for start, end in itertools.pairwise(bounds):
        chosen = rows[start:end]
        label, begins = (np.array([row[index] for row in chosen]) for index in range(2))
        features = [np.array([np.atleast_1d(row[index]) for row in chosen], np.float32) for index in range(2, 5)]
        is_last = np.array([index in ends for index in range(start, end)], np.bool_)
        decoder.feed([label.astype(np.int32), begins.astype(np.bool_), *features], is_last)
    return decoder.spans


# Each row is a token: the label of an entity that starts there (-1 for none), whether that entity has several tokens,
# and the three features current, first and previous. The hidden unit is h = current (of the token) + first (of the
# entity's first token) + previous (of the token before) + bias (0.5). An entity with label 0 continues while h > 0, an
# entity with label 1 while h < 0.
ROWS = [
    (-1, False, 9.0, 9.0, 0.0),
    # An entity of label 0 with first = 1 begins.
    (0, True, 9.0, 1.0, 0.0),
    # h = -1 (current) + 1 (first) + 0 (previous) + 0.5 (bias) = 0.5 > 0: the entity continues, and the label 1 of this
    # row is ignored.
    (1, False, -1.0, 9.0, -1.0),
    # h = -1 (current) + 1 (first) - 1 (previous) + 0.5 (bias) = -0.5 < 0: the entity ends with this token.
    (0, True, -1.0, 9.0, 7.0),
    # An entity of label 1 with first = -2 begins.
    (1, True, 0.0, -2.0, 0.0),
    # h = 1 (current) - 2 (first) + 0 (previous) + 0.5 (bias) = -0.5 < 0: the entity of label 1 continues.
    (-1, False, 1.0, 9.0, 0.0),
    # The last token of a sentence ends the entity, whatever h is.
    (-1, False, 9.0, 9.0, 0.0),
    # An entity of label 1 has only this token.
    (1, False, 9.0, 9.0, 0.0),
    (0, False, 9.0, 9.0, 0.0),
    (-1, False, 9.0, 9.0, 0.0),
]
SPANS = [(1, 4, 0), (4, 7, 1), (7, 8, 1), (8, 9, 0)]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("feature", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(feature):
    decoder = EntityDecoder(network(), tables([1, -1], [0, 0], [0.5]))
    with pytest.raises(InferenceError, match="scores"):
        decode(decoder, [(0, True, 0.0, 0.0, 0.0), (-1, False, feature, 0.0, 0.0), ROWS[-1]], [2])


def test_a_label_out_of_range_is_an_error():
    decoder = EntityDecoder(network(), tables([1, -1], [0, 0], [0.5]))
    with pytest.raises(InferenceError, match="the label 2, expected at most 1"):
        decode(decoder, [(2, False, 0.0, 0.0, 0.0)], [0])


BY_HAND = tables(within=(1.0, -1.0), last=(0.0, 0.0), bias=(0.5,))


def test_entities_by_hand():
    assert decode(EntityDecoder(network(), BY_HAND), ROWS, ends=(6, 9)) == SPANS


@given(st.sets(st.integers(1, len(ROWS) - 1)))
def test_entities_do_not_depend_on_the_slices(cuts):
    assert decode(EntityDecoder(network(), BY_HAND), ROWS, ends=(6, 9), cuts=sorted(cuts)) == SPANS


@pytest.mark.parametrize(("tie", "end"), [("in", 4), ("last", 2)])
def test_a_tie_is_decided_by_the_manifest(tie, end):
    rows = [(0, True, 0.0, 0.0, 0.0), *[(-1, False, 0.0, 0.0, 0.0)] * 3]
    same = tables(within=(1.0,), last=(1.0,), bias=(0.0,))
    assert decode(EntityDecoder(network(tie=tie), same), rows, ends=(3,)) == [(0, end, 0)]


def test_the_maximum_of_the_pieces_is_used():
    """The hidden unit h is the maximum of two pieces, each the sum of current, first, previous and its bias (0, -1)."""
    state = tables(within=(1.0,), last=(0.0,), bias=(0.0, -1.0))
    rows = [
        (0, True, (0, 0), (-2, 1), (0, 0)),
        (-1, False, (1, 1), (0, 0), (0, 0)),  # h = max(1 - 2 + 0, 1 + 1 - 1) = 1 > 0: the entity continues
        (-1, False, (-9, -1), (0, 0), (0, 0)),  # h = max(-9 - 2 + 0, -1 + 1 - 1) = -1 < 0: the entity ends here
        (-1, False, (9, 9), (0, 0), (0, 0)),
    ]
    assert decode(EntityDecoder(network(pieces=2), state), rows, ends=(3,)) == [(0, 3, 0)]


class Counted(list):
    """A list that counts its reads: the decoder reads `is_last` once for each token that may continue an entity."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("tokens", [1000, 2000, 8000])
@pytest.mark.parametrize("slices", [1, 10])
def test_decoding_an_entity_of_all_tokens_takes_one_step_per_token(tokens, slices):
    decoder, reads = EntityDecoder(network(), tables(within=(1.0,), last=(0.0,), bias=(1.0,))), 0
    size = tokens // slices
    for number in range(slices):
        zeros = np.zeros((size, 1), np.float32)
        is_last = Counted([number == slices - 1 and index == size - 1 for index in range(size)])
        decoder.feed([np.zeros(size, np.int32), np.ones(size, np.bool_), zeros, zeros, zeros], is_last)
        reads += is_last.reads
    assert decoder.spans == [(0, tokens, 0)]
    assert reads == tokens - 1


def test_an_entity_without_an_end_is_dropped():
    """An entity without an end cannot occur in a document, whose last token always ends an open entity."""
    assert decode(EntityDecoder(network(), BY_HAND), [(0, True, 0.0, 0.0, 0.0)], ends=()) == []


# -- Sentences from the heads of tokens


def starts(heads: Sequence[int], labels: Sequence[str] | None = None, spaces: Sequence[int] = ()) -> list[int]:
    is_space = np.isin(np.arange(len(heads)), spaces)
    return Tree(heads, labels or ["x"] * len(heads), is_space).sentence_starts()


def test_sentences_by_hand():
    assert starts([]) == []
    assert starts([-1]) == [0]
    assert starts([-1, -1, -1]) == [0, 1, 2]
    assert starts([1, -1, 1, 4, -1]) == [0, 3]
    assert starts([2, 3, -1, -1]) == [0, 1]  # the arcs of the tokens 0 and 1 to their heads cross
    assert starts([3, 0, 1, -1]) == [0]


def test_decorated_labels_by_hand():
    # Token 3 has the head 1 and the decorated label "c||b". The label means that the true head of token 3 is the child
    # of token 1 that has the label "b", which is token 2.
    labels = ["a", "x", "b", "c||b"]
    assert starts([1, -1, 1, 1], labels) == [0]
    tree = Tree([1, -1, 1, 1], labels, np.zeros(4, np.bool_))
    tree.sentence_starts()
    assert (tree._heads[3], tree._labels[3]) == (2, "c")
    lone = Tree([1, -1, 1, 1], ["a", "x", "b", "c||nothing"], np.zeros(4, np.bool_))
    lone.sentence_starts()
    assert (lone._heads[3], lone._labels[3]) == (1, "c")


class OfOneToken:
    """A fake document of one token, which is also a fake runner of the parser's graph with constant features."""

    lexemes = np.zeros(1, np.int64)

    def __init__(self, feature: float) -> None:
        self._features = np.full((1, 8, 2), feature, np.float32)

    def run(self, slices: Any, watch: Watch) -> Any:
        return [[self._features] for _ in slices]

    def __len__(self) -> int:
        return 1

    def is_space(self) -> Any:
        return np.zeros(1, np.bool_)


def test_a_parser_score_that_is_not_finite_is_an_error():
    layer = StateLayer(
        bias=np.zeros(2, np.float32),
        padding=np.zeros((8, 2), np.float32),
        weight=np.ones((2, 1), np.float32),
        output_bias=np.zeros(2, np.float32),
    )
    moves = SpacyParser(columns=(), vectors=False, context=1, hidden=1, pieces=2, moves=("S", "D"))
    good, bad = OfOneToken(1.0), OfOneToken(np.nan)
    parser = SentenceParser(good, moves, layer)  # type: ignore[arg-type]
    assert parser.sentence_starts([good], Watch()) == [[0]]  # type: ignore[list-item]
    with pytest.raises(InferenceError, match="parser"):
        SentenceParser(bad, moves, layer).sentence_starts([bad], Watch())  # type: ignore[arg-type, list-item]
