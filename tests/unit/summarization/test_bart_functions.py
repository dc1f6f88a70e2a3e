"""The functions of the beam search on values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ml_bridge.graphs.summarization import functions as search

INF = float("inf")


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


def test_a_token_that_would_repeat_a_bigram_is_forbidden():
    rows = np.array([[2, 5, 6, 5, 1, 1], [2, 5, 6, 7, 1, 1]], np.int64)
    result = search.forbid_repeats(np.zeros((2, 9), np.float32), rows, ints(4), ints(2))
    assert np.argwhere(np.isneginf(result)).tolist() == [[0, 6]]


def test_an_ngram_that_includes_the_last_token_forbids_nothing():
    rows = np.array([[2, 5, 5, 5, 1, 1]], np.int64)
    result = search.forbid_repeats(np.zeros((1, 9), np.float32), rows, ints(4), ints(3))
    assert np.argwhere(np.isneginf(result)).tolist() == [[0, 5]]  # 5 5 must not be followed by 5 again


@pytest.mark.parametrize("size", [2, 3, 4])
def test_nothing_is_forbidden_before_there_is_an_ngram(size):
    rows = np.array([[2, 1, 1, 1]], np.int64)
    result = search.forbid_repeats(np.zeros((1, 5), np.float32), rows, ints(1), ints(size))
    assert np.isfinite(result).all() == (size > 1)


def test_unigrams_forbid_all_earlier_tokens():
    rows = np.array([[2, 5, 5, 1]], np.int64)
    result = search.forbid_seen(np.zeros((1, 7), np.float32), rows, ints(3))
    assert np.argwhere(np.isneginf(result))[:, 1].tolist() == [2, 5]


@pytest.mark.parametrize(("cur", "expected"), [(3, -INF), (4, 0.0)])
def test_the_end_token_is_forbidden_below_the_minimum_length(cur, expected):
    result = search.forbid_end(np.zeros((1, 4), np.float32), ints(cur), ints(4), ints(2))
    assert result.tolist() == [[0.0, 0.0, expected, 0.0]]


def test_a_token_is_forced_only_at_its_position():
    given = np.full((1, 3), -2.0, np.float32)
    assert search.force(given, ints(1), ints(1), ints(2)).tolist() == [[-INF, -INF, 0.0]]
    assert search.force(given, ints(2), ints(1), ints(2)).tolist() == given.tolist()


def test_equal_candidates_are_ordered_by_beam_then_by_token():
    log_probs = np.zeros((2, 4), np.float32)  # the rows are two beams of one text
    log_probs[0, 2:] = -1
    sums, tokens, parents = search.candidates(log_probs, floats([0.0, 0.0]), ints(2))
    assert (tokens.tolist(), parents.tolist()) == ([[0, 1, 0, 1]], [[0, 0, 1, 1]])
    assert sums.tolist() == [[0.0] * 4]


def test_candidates_of_different_texts_are_independent():
    # The first two rows are the first beams of two texts, the last two their second beams.
    log_probs = floats([-1, -9, -9, -9], [-2, -9, -9, -9], [-9, -3, -9, -9], [-9, -9, -9, -4])
    sums, tokens, parents = search.candidates(log_probs, floats([0, -1], [-5, 0]), ints(2))
    assert sums[:, :2].tolist() == [[-1.0, -4.0], [-4.0, -7.0]]
    assert tokens[:, :2].tolist() == [[0, 1], [3, 0]]
    assert parents[:, :2].tolist() == [[0, 1], [1, 0]]


def test_an_ending_candidate_beyond_the_first_beams_is_not_finished():
    sums = floats([-1.0, -2.0, -3.0, -4.0])
    is_end = np.array([[False, True, True, False]])
    sequences = np.arange(4, dtype=np.int64).reshape(1, 4, 1)
    low = np.full((1, 2), -1e9, np.float32)
    scores, kept, is_done = search.finish(
        sums,
        is_end,
        sequences,
        low,
        np.full((1, 2, 1), 9, np.int64),
        np.zeros((1, 2), bool),
        np.ones((1, 1), bool),
        np.array([True]),
        ints(2),
    )
    assert is_done.tolist() == [[True, False]]
    assert (scores[0, 0], kept[0, 0, 0]) == (-2.0, 1)


def test_the_length_penalty_divides_by_a_power_of_the_length():
    assert search.penalized(floats([-8.0]), ints(4), floats(1.5)).tolist() == [[-1.0]]
    assert search.penalized(floats([-8.0]), ints(4), floats(0.0)).tolist() == [[-8.0]]


def test_live_slots_are_kept_in_order_and_dead_slots_dropped():
    mask = floats([[-1e30, 0, -1e30, 0], [-1e30, -1e30, -1e30, 0]])
    assert search.live_slots(mask).tolist() == [[1, 3]]


def test_a_text_with_fewer_live_slots_is_padded_with_dead_slots():
    mask = floats([[-1e30, 0, 0]], [[-1e30, -1e30, 0]])
    order = search.live_slots(mask)
    assert order.tolist() == [[1, 2], [2, 0]]
    assert search.compact_mask(mask, order)[1, 0].tolist() == [0.0, np.float32(-1e30)]
    cache = np.arange(3 * 2, dtype=np.float32).reshape(3, 2, 1, 1)  # a different value for every slot and text
    assert search.compact_cache(cache, order)[..., 0, 0].tolist() == [[2.0, 5.0], [4.0, 1.0]]
