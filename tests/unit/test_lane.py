"""A lane: the order of runs, merged runs, the bound of the queue, errors, and the threads. No test measures time."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes import PATIENCE, Caller, Engine, Row, call, wait_for, waiting
from onnx_ml_bridge import InferenceError, OverloadedError, StoppedError
from onnx_ml_bridge.runtime import lane as lane_module
from onnx_ml_bridge.runtime import lane_queue
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.lane import Lane, LaneOptions
from onnx_ml_bridge.runtime.lane_call import Call, Run, Turn


def held(lane: Lane, rows: int = 1) -> tuple[Engine, Caller]:
    """Hold a lane of one worker with a run of the row 0, and return the engine and the call of it."""
    engine = Engine()
    engine.free.clear()
    first = Caller(lane, engine.apart(*range(rows)))
    wait_for(lambda: bool(engine.runs))
    return engine, first


# -- The order of runs


def test_a_bulk_call_gives_way_after_every_run():
    lane = Lane()
    engine, bulk = held(lane, rows=4)
    singles = []
    for number in (10, 11, 12):
        singles.append(Caller(lane, engine.apart(number)))
        waiting(lane, len(singles) + 1)
    engine.free.set()
    assert bulk.result() == [[0], [10], [20], [30]]
    assert [each.result() for each in singles] == [[[100]], [[110]], [[120]]]
    assert engine.runs == [[0], [10], [11], [12], [1], [2], [3]]


def test_two_bulk_calls_alternate():
    lane = Lane()
    engine, first = held(lane, rows=4)
    second = Caller(lane, engine.apart(10, 11, 12, 13))
    waiting(lane, 2)
    engine.free.set()
    first.result(), second.result()
    assert engine.runs == [[0], [10], [1], [11], [2], [12], [3], [13]]


def test_a_call_has_as_many_runs_at_the_same_time_as_there_are_workers():
    for workers in (1, 3):
        lane, running, counts = Lane(workers=workers), [0], []
        lock, together = threading.Lock(), threading.Barrier(workers)

        def work(rows: Any, stop: Any, running=running, counts=counts, lock=lock, together=together) -> Any:
            with lock:
                running[0] += 1
                counts.append(running[0])
            together.wait(PATIENCE)
            with lock:
                running[0] -= 1
            return rows

        with Watch() as watch, lane.call(watch) as admitted:
            assert len(list(admitted.in_order([Run([number], work) for number in range(9)], 3))) == 9
        assert max(counts) == workers


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_answers_are_in_the_order_of_lazily_created_runs(workers):
    lane, made = Lane(workers=workers), []

    def runs() -> Iterator[Run]:
        for number in range(40):
            made.append(number)
            yield Run([number], lambda rows, stop: [rows[0] ** 2])

    with Watch() as watch, lane.call(watch) as admitted:
        for index, (answer,) in enumerate(admitted.in_order(runs(), workers)):
            assert answer == index**2
            assert len(made) - index <= workers + 2, "too many runs were created before the first answer"
    assert len(made) == 40


# -- Merged runs


def test_next_runs_of_waiting_calls_are_merged_if_their_keys_are_equal():
    lane = Lane()
    engine, first = held(lane)
    keys = ["a", "b", "a", None, None, "a", "b"]
    callers = []
    for number, key in enumerate(keys, start=1):
        callers.append(Caller(lane, [engine.run(number, 10 + number, key=key)]))
        waiting(lane, number)
    engine.free.set()
    assert [each.result() for each in callers] == [[[10 * number, 100 + 10 * number]] for number in range(1, 8)]
    assert first.result() == [[0]]
    assert engine.runs[1:] == [[1, 11, 3, 13, 6, 16], [2, 12, 7, 17], [4, 14], [5, 15]]


def test_runs_of_about_the_same_length_are_merged_first():
    lane = Lane()
    engine, _ = held(lane)
    callers = []
    for number, length in enumerate((20, 15, 40, 21, 19), start=1):
        callers.append(Caller(lane, [engine.run(Row(number, length), max_tokens=63)]))
        waiting(lane, number)
    engine.free.set()
    for each in callers:
        each.result()
    assert engine.runs == [[0], [1, 4, 5], [2], [3]]


def test_merging_can_be_turned_off():
    lane = Lane(LaneOptions(merge=False))
    engine, _ = held(lane)
    callers = []
    for number in range(1, 5):
        callers.append(Caller(lane, [engine.run(number)]))
        waiting(lane, number)
    engine.free.set()
    assert [each.result() for each in callers] == [[[10]], [[20]], [[30]], [[40]]]
    assert engine.runs == [[0], [1], [2], [3], [4]]


def test_a_worker_looks_at_64_waiting_calls():
    lane = Lane()
    engine, _ = held(lane)
    callers = []
    for number in range(1, 81):
        callers.append(Caller(lane, [engine.run(number)]))
        waiting(lane, number)
    engine.free.set()
    for each in callers:
        each.result()
    assert [len(rows) for rows in engine.runs] == [1, 65, 15]


lengths = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=12)


@given(lengths, st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_merged_runs_are_within_the_budget_and_have_little_padding(calls, budget):
    lane = Lane()
    engine, _ = held(lane)
    size, callers = {0: 1}, []
    for number, each in enumerate(calls, start=1):
        rows = [Row(100 * number + index, length) for index, length in enumerate(each)]
        size |= {row.value: row.length for row in rows}
        callers.append((Caller(lane, [engine.run(*rows, max_tokens=budget)]), rows))
        waiting(lane, number)
    engine.free.set()
    for caller, rows in callers:
        assert caller.result() == [[10 * row.value for row in rows]]
    assert sorted(row for run in engine.runs for row in run) == sorted(size)
    for run in engine.runs:
        if len({value // 100 for value in run}) > 1:
            padded = len(run) * max(size[value] for value in run)
            assert padded <= budget and 4 * sum(size[value] for value in run) >= 3 * padded


def test_the_attention_scores_of_merged_runs_are_bounded(monkeypatch):
    monkeypatch.setattr(lane_queue, "MAX_SCORES", 3 * 10**2)
    lane = Lane()
    engine, _ = held(lane)
    callers = []
    for number in range(1, 6):
        callers.append(Caller(lane, [engine.run(Row(number, 10), max_tokens=10_000)]))
        waiting(lane, number)
    engine.free.set()
    for each in callers:
        each.result()
    assert engine.runs == [[0], [1, 2, 3], [4, 5]]


def test_answers_of_a_merged_run_do_not_keep_those_of_other_calls():
    lane = Lane()
    engine, _ = held(lane)

    def work(rows: Any, stop: Any) -> Any:
        return np.arange(2.0 * len(rows)).reshape(-1, 2)

    runs = [Run([number], work, "key", 1, 1, 100) for number in range(3)]
    callers = []
    for number, run in enumerate(runs, start=1):
        callers.append(Caller(lane, [run]))
        waiting(lane, number)
    engine.free.set()
    answers = [each.result()[0] for each in callers]
    assert [each.tolist() for each in answers] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert all(each.base is None for each in answers)


# -- The bound of the queue


def test_a_full_queue_refuses_calls_at_once():
    lane = Lane(LaneOptions(max_waiting=3))
    engine, first = held(lane)
    callers = []
    for number in range(1, 4):
        callers.append(Caller(lane, engine.apart(number)))
        waiting(lane, number)
    with pytest.raises(OverloadedError) as refused:
        call(lane, engine.apart(4))
    assert (refused.value.code, refused.value.is_retryable) == ("overloaded", True)
    assert lane.status().waiting == 3
    engine.free.set()
    assert [each.result() for each in [first, *callers]] == [[[0]], [[10]], [[20]], [[30]]]
    assert [4] not in engine.runs
    assert call(lane, engine.apart(5)) == [[50]]


def test_200_threads_get_answers_or_are_refused_and_the_queue_stays_within_its_bound():
    lane, engine = Lane(LaneOptions(max_waiting=128, merge=False)), Engine()
    engine.free.clear()
    seen, work = [], engine.work

    def observed(rows: Any, stop: Any) -> Any:
        seen.append(lane.status().waiting)
        return work(rows, stop)

    engine.work = observed  # type: ignore[method-assign]
    callers = [Caller(lane, engine.apart(number)) for number in range(200)]
    wait_for(lambda: lane.status().waiting == 128 and sum(each.is_alive() for each in callers) == 129)
    engine.free.set()
    for each in callers:
        each.join(PATIENCE)
    refused = [each for each in callers if isinstance(each.error, OverloadedError)]
    answered = [each.answers for each in callers if each.error is None]
    assert len(refused) == 71 and len(answered) == 129 and max(seen) <= 128
    assert sorted(value for ((value,),) in answered) == sorted(10 * run[0] for run in engine.runs)


def test_a_bulk_call_that_waits_for_its_next_turn_counts_once():
    lane = Lane(LaneOptions(max_waiting=2))
    engine, bulk = held(lane, rows=5)
    assert lane.status().waiting == 1
    single = Caller(lane, engine.apart(10))
    waiting(lane, 2)
    with pytest.raises(OverloadedError):
        call(lane, engine.apart(11))
    engine.free.set()
    assert bulk.result() and single.result() == [[100]]
    assert lane.status().waiting == lane.status().running == 0


# -- Errors and stopped calls


def test_an_error_of_a_run_is_raised_in_its_call_alone():
    lane = Lane()
    engine, first = held(lane)

    class Odd(BaseException):
        """Not even an `Exception`."""

    def fail(rows: Any, stop: Any) -> Any:
        raise error

    for number, error in enumerate([InferenceError("failed"), ValueError("odd"), Odd(), StopIteration()]):
        failing = Caller(lane, [Run([0], fail)])
        waiting(lane, 1)
        other = Caller(lane, engine.apart(10 + number))
        waiting(lane, 2)
        engine.free.set()
        with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
            failing.result()
        assert other.result() == [[100 + 10 * number]]
        first.result()
        engine, first = held(lane)
    engine.free.set()


def test_one_bad_row_of_a_merged_run_loses_no_other_call():
    lane = Lane()
    engine, _ = held(lane)
    seen: list[list[int]] = []

    def work(rows: Any, stop: Any) -> Any:
        seen.append([row.value for row in rows])
        if any(row.value == 2 for row in rows):
            raise InferenceError("the row 2")
        return [row.value for row in rows]

    engine.work = work  # type: ignore[method-assign]
    callers = []
    for number in range(1, 4):
        callers.append(Caller(lane, [engine.run(number)]))
        waiting(lane, number)
    engine.free.set()
    assert callers[0].result() == [[1]] and callers[2].result() == [[3]]
    with pytest.raises(InferenceError, match="the row 2"):
        callers[1].result()
    assert seen == [[1, 2, 3], [1], [2], [3]]


def test_a_run_with_the_wrong_number_of_answers_is_an_error():
    with pytest.raises(InferenceError, match="a run of 2 rows has 1 answers"):
        call(Lane(), [Run([1, 2], lambda rows, stop: [1])])


def test_a_waiting_call_that_is_stopped_leaves_at_once_and_never_runs():
    lane = Lane()
    engine, first = held(lane)
    watches = [Watch() for _ in range(3)]
    callers = []
    for number, watch in enumerate(watches, start=1):
        callers.append(Caller(lane, engine.apart(number), watch))
        waiting(lane, number)
    watches[1].stop("cancelled")
    with pytest.raises(StoppedError) as stopped:
        callers[1].result()  # although the lane is still held
    assert stopped.value.code == "cancelled" and lane.status().waiting == 2
    engine.free.set()
    assert [each.result() for each in (first, callers[0], callers[2])] == [[[0]], [[10]], [[30]]]
    assert engine.runs == [[0], [1], [3]]


def test_a_call_with_a_time_limit_leaves_the_queue():
    lane = Lane()
    engine, _ = held(lane)
    with pytest.raises(StoppedError) as stopped:
        call(lane, engine.apart(1), Watch(0.01))
    assert stopped.value.code == "timeout" and lane.status().waiting == 0
    engine.free.set()
    assert engine.runs == [[0]]


def test_answers_that_are_ready_are_given_before_the_call_is_stopped():
    lane, watch, got = Lane(), Watch(), []

    def work(rows: Any, stop: Any) -> Any:
        if rows == [3]:
            watch.stop("timeout")
            stop.check()
        return rows

    with watch, lane.call(watch) as admitted, pytest.raises(StoppedError):
        for _, answers in admitted.run([Run([number], work) for number in range(6)], is_last=True):
            got.append(answers)
    assert got == [[0], [1], [2]]


class Options:
    terminate = False


def test_a_merged_graph_is_terminated_only_if_all_of_its_calls_are_gone():
    for stopped in (1, 2):
        lane = Lane()
        engine, _ = held(lane)
        options, in_graph, end = Options(), threading.Event(), threading.Event()

        def work(rows: Any, stop: Any, options=options, in_graph=in_graph, end=end) -> Any:
            with stop.running(options):
                in_graph.set()
                assert end.wait(PATIENCE)
            stop.check()
            return rows

        watches = [Watch(), Watch()]
        callers = []
        for number, watch in enumerate(watches, start=1):
            callers.append(Caller(lane, [Run([number], work, "key", 1, 1, 100)], watch))
            waiting(lane, number)
        engine.free.set()
        assert in_graph.wait(PATIENCE)
        for number in range(stopped):
            watches[number].stop("timeout")
            with pytest.raises(StoppedError):
                callers[number].result()  # although the graph still runs
        assert options.terminate == (stopped == 2)
        end.set()
        if stopped == 1:
            assert callers[1].result() == [[2]]
        assert call(lane, engine.apart(7)) == [[70]]


def test_a_caller_that_stops_reading_leaves_the_lane():
    lane, engine = Lane(), Engine()
    with Watch() as watch, lane.call(watch) as admitted:
        answers = admitted.run(engine.apart(0, 1, 2, 3), is_last=True)
        assert next(answers) == (0, [0])
    assert engine.runs == [[0]] and lane.status().waiting == 0
    assert call(lane, engine.apart(7)) == [[70]]


def test_an_interrupt_of_a_merged_run_is_raised_in_its_thread_only():
    def work(rows: Sequence[Row], stop: Any) -> list[int]:
        if len(rows) > 1:
            raise KeyboardInterrupt
        return [10 * row.value for row in rows]

    lane = Lane()
    own, another = Call(lane, Watch()), Call(lane, Watch())
    another.owner = own.owner + 1
    turn = Turn(threading.Lock(), own, 0, Run([Row(1)], work), 1)
    turn.add(another, 0, Run([Row(2)], work))
    mine, theirs = turn.execute()
    assert isinstance(mine.error, KeyboardInterrupt)
    assert theirs.answers == [20] and theirs.error is None


def test_the_status_of_a_lane_has_the_last_success_and_the_last_failure():
    lane, engine = Lane(), Engine()
    assert lane.status() == lane_module.LaneStatus(0, 0, None, None)
    call(lane, engine.apart(1))
    first = lane.status().last_success
    assert first is not None and lane.status().error is None

    def fail(rows: Any, stop: Any) -> Any:
        raise error

    for error, code in ((InferenceError("x"), "inference"), (ValueError("x"), "internal")):
        with pytest.raises(type(error)):
            call(lane, [Run([0], fail)])
        assert lane.status().error == code and lane.status().last_success == first
    call(lane, engine.apart(1))
    for error in (StoppedError("timeout", "x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            call(lane, [Run([0], fail)])
    assert lane.status().error is None and lane.status().last_success >= first


# -- Threads


def test_a_caller_of_an_idle_lane_runs_in_its_own_thread():
    lane, engine, before = Lane(), Engine(), set(threading.enumerate())
    for number in range(20):
        assert call(lane, engine.apart(number, number + 1)) == [[10 * number], [10 * number + 10]]
    assert engine.threads == {threading.get_ident()} and set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", [1, 3])
def test_a_busy_lane_starts_as_many_threads_as_it_has_workers(workers):
    lane, engine = Lane(LaneOptions(workers=workers, merge=False)), Engine()
    callers = [Caller(lane, engine.apart(*range(number, number + 5))) for number in range(50)]
    for number, each in enumerate(callers):
        assert each.result() == [[10 * value] for value in range(number, number + 5)]
    own = {each.ident for each in callers}
    assert len(engine.threads - own) <= workers and len(lane._threads) <= workers


def test_a_worker_that_delivers_outcomes_takes_the_calls_that_came_meanwhile(monkeypatch):
    lane = Lane()
    engine, first = held(lane)
    delivers, may_go_on = threading.Event(), threading.Event()
    deliver = lane_module._deliver

    def slow(turn: Any, outcomes: Any) -> None:
        deliver(turn, outcomes)
        if threading.current_thread() in lane._threads:
            delivers.set()
            assert may_go_on.wait(PATIENCE)

    monkeypatch.setattr(lane_module, "_deliver", slow)
    with Watch() as watch, lane.call(watch) as second:
        second.submit(engine.apart(1), is_last=True)
        engine.free.set()
        assert first.result() == [[0]]
        # Only a worker can take the second run: the thread of its call waits here, and asks for the answer later
        assert delivers.wait(PATIENCE)
        assert second._next() == (0, [10])
    engine.free.clear()
    third = Caller(lane, engine.apart(2))  # finds an idle lane, and runs its run itself
    wait_for(lambda: [2] in engine.runs)
    fourth = Caller(lane, engine.apart(3))
    waiting(lane, 1)
    engine.free.set()
    assert third.result() == [[20]]
    may_go_on.set()
    assert fourth.result() == [[30]]


def test_a_worker_without_work_ends_and_another_one_starts_later(monkeypatch):
    monkeypatch.setattr(lane_module, "_LINGER_SECONDS", 0.01)
    lane = Lane()
    for _ in range(3):
        engine, first = held(lane)
        second = Caller(lane, engine.apart(1))
        waiting(lane, 1)
        engine.free.set()
        assert (first.result(), second.result()) == ([[0]], [[10]])
        wait_for(lambda: not lane._threads)


def test_callers_run_their_turns_themselves_if_the_system_refuses_threads(monkeypatch):
    lane = Lane()
    engine, first = held(lane)
    callers = [Caller(lane, engine.apart(number, number)) for number in range(1, 20)]
    waiting(lane, 19)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    engine.free.set()
    assert first.result() == [[0]]
    assert [each.result() for each in callers] == [[[10 * number]] * 2 for number in range(1, 20)]


def test_a_call_that_is_stopped_between_two_runs_raises():
    for count in (0, 1):
        lane, engine, watch = Lane(), Engine(), Watch()

        def runs(count=count, engine=engine, watch=watch):
            yield from engine.apart(*range(count))
            watch.stop("cancelled")
            yield engine.run(7)

        with watch, lane.call(watch) as admitted, pytest.raises(StoppedError):
            list(admitted.in_order(runs(), 2))
        assert [7] not in engine.runs


@pytest.mark.parametrize("is_busy", [False, True])
def test_an_error_keeps_nothing_that_its_run_used(is_busy):
    """Neither the error nor a worker that waits keeps a session in memory, also if no garbage is collected."""

    class Session:
        pass

    sessions = [Session()]
    used = weakref.ref(sessions[0])

    def run(session: Any) -> None:
        try:
            raise RuntimeError("the graph fails")
        except RuntimeError as error:
            raise InferenceError("ONNX Runtime failed") from error

    def work(rows: Any, stop: Any) -> Any:
        session = sessions.pop()
        run(session)

    lane = Lane()
    engine, first = held(lane)
    if not is_busy:
        engine.free.set()
        first.result()
    gc.collect()
    gc.disable()
    try:
        caller = Caller(lane, [Run([1], work)])
        if is_busy:
            waiting(lane, 1)
            engine.free.set()
        with pytest.raises(InferenceError) as raised:
            caller.result()
        del caller
        wait_for(lambda: lane.status().running == 0)
        assert raised.value.code == "inference" and used() is None
    finally:
        gc.enable()


def test_calls_that_fail_leave_no_garbage():
    class Watched(InferenceError):
        pass

    def work(rows: Any, stop: Any) -> Any:
        raise Watched("the graph fails")

    def fail() -> weakref.ref[Watched]:
        try:
            call(Lane(), [Run([1], work)])
        except Watched as error:
            return weakref.ref(error)
        raise AssertionError("the call did not fail")

    gc.collect()
    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()
