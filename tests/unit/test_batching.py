"""The division of inputs into batches."""

from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.runtime import batching
from onnx_ml_bridge.runtime.batching import plan_batches, plan_even_batches


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 2000))
def test_batches_contain_every_index_once_and_stay_within_the_budget(lengths, budget):
    batches = list(plan_batches(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(st.lists(st.integers(1, 3000), max_size=80))
def test_the_attention_scores_of_a_batch_are_bounded(lengths):
    for batch in plan_batches(lengths, 1 << 40):
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) ** 2 <= batching.MAX_SCORES


def test_the_longest_texts_are_first_and_equal_ones_keep_their_order():
    assert list(plan_batches([3, 5, 3, 9, 5, 0], 10)) == [[3], [1, 4], [0, 2, 5]]
    assert list(plan_batches([3, 3, 3, 3], 100, 3)) == [[0, 1, 2], [3]]
    assert list(plan_batches([], 10)) == []


def test_the_bound_of_the_attention_scores_divides_no_batch_of_the_default_budgets():
    assert list(plan_batches([1024, 1024], 2048)) == [[0, 1]]
    assert list(plan_batches([512] * 9, 1 << 20)) == [list(range(8)), [8]]


def test_texts_of_one_batch_are_not_divided_among_workers():
    assert plan_even_batches([400] * 5, 2048, 14, 2) == [[0, 1, 2, 3, 4]]
    assert plan_even_batches([], 2048, 14, 2) == []


def test_several_batches_are_divided_evenly_among_workers():
    assert plan_even_batches([400] * 6, 2048, 14, 1) == [[0, 1, 2, 3, 4], [5]]
    assert plan_even_batches([400] * 6, 2048, 14, 2) == [[0, 1, 2], [3, 4, 5]]
    assert [len(batch) for batch in plan_even_batches([400] * 12, 2048, 14, 2)] == [3, 3, 3, 3]
    assert [len(batch) for batch in plan_even_batches([10] * 30, 2048, 14, 2)] == [8, 8, 8, 6]


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 2000), st.integers(1, 20), st.integers(1, 4))
def test_even_batches_are_within_the_limits_of_all_batches(lengths, budget, max_texts, workers):
    batches = plan_even_batches(lengths, budget, max_texts, workers)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max_texts
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
