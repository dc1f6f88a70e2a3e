"""The metrics that compare rankings, with values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx_ml_bridge.runtime.rank_agreement import TIE, is_same_order, kendall_tau, rank_figures, ranking


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3], [1, 3, 2], (2 - 1) / 3),
        ([4, 3, 2, 1], [3, 4, 1, 2], (4 - 2) / 6),
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # two documents are tied in `a`
        ([1, 1, 2], [2, 3, 1], -2 / math.sqrt(2 * 3)),
        ([1, 1, 2, 2], [1, 2, 2, 3], 3 / math.sqrt(4 * 5)),  # `a` has two ties, `b` has one
        ([1, 1, 1], [2, 2, 2], 1),  # all documents are tied in both lists
        ([1, 1, 1], [1, 2, 3], 0),
        ([1, 2, 3], [1, 1, 1], 0),
        ([1], [2], 1),
        ([], [], 1),
    ],
)
def test_kendall_tau_by_hand(a, b, expected):
    assert kendall_tau(scores(*a), scores(*b)) == pytest.approx(expected, abs=1e-12)


def test_documents_with_close_reference_scores_may_swap():
    reference = scores(0.5, 0.5 + TIE / 2, 0.9)
    assert is_same_order(reference, scores(0.2, 0.1, 0.3))
    assert is_same_order(reference, scores(0.1, 0.1, 0.3))


def test_other_documents_may_not_swap_or_have_equal_scores():
    reference = scores(0.5, 0.5 + 2 * TIE, 0.9)
    assert is_same_order(reference, scores(-3, -2, -1))
    assert not is_same_order(reference, scores(0.2, 0.1, 0.3))
    assert not is_same_order(reference, scores(0.1, 0.1, 0.3))
    assert is_same_order(scores(), scores()) and is_same_order(scores(1), scores(2))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.3, 0.2], [1, 2, 0]),
        ([1, 2, 1, 2], [1, 3, 0, 2]),  # documents with equal scores keep their order
        ([0.0, -0.0, 0.0], [0, 1, 2]),
        ([-1], [0]),
        ([], []),
    ],
)
def test_a_ranking_is_descending_and_stable(values, expected):
    assert ranking(scores(*values)).tolist() == expected


def test_figures_are_over_all_queries():
    reference = [scores(3, 2, 1), scores(1, 2, 3, 4)]
    figures = rank_figures(reference, [scores(3.5, 2, 1), scores(1, 2, 4, 3)])
    assert figures == {
        "max_abs": 1.0,
        "order_differing": 1.0,
        "kendall_tau": pytest.approx((1 + (5 - 1) / 6) / 2),
        "kendall_tau_min": pytest.approx((5 - 1) / 6),
        "top_1": 0.5,
    }
    assert rank_figures(reference, reference) == {
        "max_abs": 0.0,
        "order_differing": 0.0,
        "kendall_tau": 1.0,
        "kendall_tau_min": 1.0,
        "top_1": 1.0,
    }


@pytest.mark.parametrize(("gap", "expected"), [(TIE / 2, 1.0), (2 * TIE, 0.0)])
def test_a_first_document_with_a_close_reference_score_counts_as_kept(gap, expected):
    assert rank_figures([scores(0.5, 0.5 + gap)], [scores(0.9, 0.1)])["top_1"] == expected


def test_differences_are_computed_in_double_precision():
    # float32 cannot represent the exact difference of these two values
    a, b = np.float32(1e8), np.float32(1.5)
    assert rank_figures([scores(a)], [scores(b)])["max_abs"] == float(a) - float(b)
