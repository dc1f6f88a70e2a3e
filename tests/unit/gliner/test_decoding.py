"""Candidates of hand-written logits, and the search, compared with one that compares all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.runtime.gliner.decoding import Candidates, search, span_candidates, token_candidates

pytestmark = pytest.mark.families("gliner")


def rows(found: Candidates) -> list[tuple[int, int, int, float]]:
    scores = [round(score, 2) for score in found.score.tolist()]
    return list(zip(found.first.tolist(), found.last.tolist(), found.label.tolist(), scores, strict=True))


def test_spans_beyond_the_last_word_are_left_out():
    # Two words, widths 1 and 2, two labels. The sigmoid of 1 is 0.73, that of 2 is 0.88.
    logits = np.array([1, -1, 2, 0, -1, 2, 9, 9], np.float32).reshape(2, 2, 2)
    assert rows(span_candidates(logits, 0.5)) == [(0, 0, 0, 0.73), (0, 1, 0, 0.88), (1, 1, 1, 0.88)]
    assert len(span_candidates(logits, 1.0)) == 0


def test_the_score_of_words_is_the_lowest_probability():
    # Three words and one label: start, end, inside of each
    logits = np.array([2, -1, 2, -1, 2, 1, 2, 2, -1], np.float32).reshape(3, 1, 3)
    assert rows(token_candidates(logits, 0.5)) == [(0, 1, 0, 0.73)]
    assert len(token_candidates(logits, 0.25)) == 6


def candidates(spans) -> Candidates:
    columns = [list(column) for column in zip(*spans, strict=True)] or [[], [], [], []]
    first, last, label = (np.array(column, np.int64) for column in columns[:3])
    return Candidates(first, last, label, np.array(columns[3], np.float32))


ALL = [(0, 3, 0, 0.9), (1, 2, 0, 0.8), (2, 4, 1, 0.7), (0, 3, 1, 0.6), (5, 5, 1, 0.5), (5, 5, 0, 0.5)]


@pytest.mark.parametrize(
    ("nested", "multi_label", "expected"),
    [
        (False, False, [(0, 3, 0), (5, 5, 1)]),
        (False, True, [(0, 3, 0), (0, 3, 1), (5, 5, 1), (5, 5, 0)]),
        (True, False, [(0, 3, 0), (1, 2, 0), (5, 5, 1)]),
        (True, True, [(0, 3, 0), (0, 3, 1), (1, 2, 0), (5, 5, 1), (5, 5, 0)]),
    ],
)
def test_entities_fit_together(nested, multi_label, expected):
    found = search(candidates(ALL), 9, nested=nested, multi_label=multi_label)
    assert [row[:3] for row in rows(found)] == expected


def slow_search(spans, nested, multi_label):
    kept = []
    for first, last, label, score in sorted(spans, key=lambda each: -each[3]):
        for a, b, *_ in kept:
            inside = (first <= a and last >= b) or (a <= first and b >= last)
            apart = first > b or a > last
            same = (first, last) == (a, b)
            if not multi_label if same else not apart and not (nested and inside):
                break
        else:
            kept.append((first, last, label, score))
    return sorted(kept, key=lambda each: each[0])


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2), st.integers(0, 19)), max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_the_search_equals_the_comparison_of_all_pairs(spans, nested, multi_label):
    spans = [(min(a, b), max(a, b), label, score / 32) for a, b, label, score in spans]  # exact in float32
    found = search(candidates(spans), 9, nested=nested, multi_label=multi_label)
    assert list(zip(found.first, found.last, found.label, found.score, strict=True)) == slow_search(
        spans, nested, multi_label
    )
