"""`benchmarks.agreement rerank`: the comparison of the rankings of two languages, with values computed by hand."""

from __future__ import annotations

import math

import pytest
from onnx_ml_bridge import Ranked
from onnx_ml_bridge.runtime.rank_agreement import TIE

from benchmarks.agreement.rerank import TOLERANCE, Comparison, compare

EXPECTED = [Ranked(1, 0.75, False), Ranked(2, 0.5, True), Ranked(0, 0.25, False)]


def test_equal_rankings():
    assert compare([EXPECTED, []], [EXPECTED, []]) == Comparison(2, 3, 1, 0.0, 0, 0)
    assert compare([EXPECTED], [EXPECTED]).is_same
    assert compare([], []).is_same


@pytest.mark.parametrize(
    ("actual", "expected", "is_same"),
    [
        # one score differs by half of the tolerance, then by twice the tolerance
        ([Ranked(1, 0.75, False), Ranked(2, 0.5, True), Ranked(0, 0.25 + TOLERANCE / 2, False)], (0, 0), True),
        ([Ranked(1, 0.75, False), Ranked(2, 0.5, True), Ranked(0, 0.25 + TOLERANCE * 2, False)], (0, 0), False),
        # the scores are the same, but the documents are in another order
        ([Ranked(2, 0.5, True), Ranked(1, 0.75, False), Ranked(0, 0.25, False)], (1, 0), False),
        ([Ranked(0, 0.25, False), Ranked(1, 0.75, False), Ranked(2, 0.5, True)], (1, 0), False),
        # the scores are the same, but other documents are truncated
        ([Ranked(1, 0.75, True), Ranked(2, 0.5, False), Ranked(0, 0.25, False)], (0, 2), False),
    ],
)
def test_differences_are_counted(actual, expected, is_same):
    comparison = compare([EXPECTED, EXPECTED], [actual, EXPECTED])
    assert (comparison.order_differing, comparison.truncated_differing) == expected
    assert comparison.is_same is is_same


def test_the_largest_difference_is_that_of_the_same_document():
    swapped = [Ranked(2, 0.75, True), Ranked(1, 0.5, False), Ranked(0, 0.25, False)]
    comparison = compare([EXPECTED], [swapped])
    assert (comparison.max_abs, comparison.order_differing) == (0.25, 1)


@pytest.mark.parametrize(("gap", "differing"), [(TIE / 2, 0), (2 * TIE, 1)])
def test_documents_with_close_scores_may_swap(gap, differing):
    expected = [Ranked(0, 0.5 + gap, False), Ranked(1, 0.5, False)]
    assert compare([expected], [expected[::-1]]).order_differing == differing


def test_scores_are_compared_as_float32():
    # The same float32 in two forms: with the fewest digits, as Rust prints it, and converted to float64, as in Python
    printed, converted = 0.1, 0.10000000149011612
    assert compare([[Ranked(0, converted, False)]], [[Ranked(0, printed, False)]]).max_abs == 0.0
    assert not math.isclose(printed, converted, rel_tol=1e-9)
