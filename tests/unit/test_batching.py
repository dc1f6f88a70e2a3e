"""The division of inputs into batches, and jobs that run in worker threads."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import InferenceError
from onnx_ml_bridge.runtime.batching import map_in_order, plan_batches


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 2000))
def test_batches_contain_every_index_once_and_stay_within_the_budget(lengths, budget):
    batches = list(plan_batches(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_the_longest_texts_are_first_and_equal_ones_keep_their_order():
    assert list(plan_batches([3, 5, 3, 9, 5, 0], 10)) == [[3], [1, 4], [0, 2, 5]]
    assert list(plan_batches([3, 3, 3, 3], 100, 3)) == [[0, 1, 2], [3]]
    assert list(plan_batches([], 10)) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_answers_are_in_the_order_of_the_jobs_and_jobs_are_consumed_lazily(threads):
    made: list[int] = []
    ahead = 0

    def jobs() -> Iterator[int]:
        for number in range(40):
            made.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    for index, answer in enumerate(map_in_order(work, jobs(), threads)):
        assert answer == index * index
        ahead = max(ahead, len(made) - index)
    assert ahead <= threads + 2, "too many jobs were consumed before the first answer"


def test_one_job_or_one_thread_runs_in_the_callers_thread():
    here = threading.get_ident()
    assert list(map_in_order(lambda _: threading.get_ident(), [1], 4)) == [here]
    assert set(map_in_order(lambda _: threading.get_ident(), range(9), 1)) == {here}
    assert here not in set(map_in_order(lambda _: threading.get_ident(), range(9), 4))
    assert list(map_in_order(str, [], 4)) == []


def test_an_error_of_a_job_is_raised_in_the_callers_thread():
    def work(number: int) -> int:
        if number == 5:
            raise InferenceError("five")
        return number

    answers = map_in_order(work, range(50), 3)
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(InferenceError, match="five"):
        next(answers)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stop_iteration_in_a_job_does_not_end_the_answers_silently(threads):
    def work(number: int) -> int:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(map_in_order(work, range(3), threads))
