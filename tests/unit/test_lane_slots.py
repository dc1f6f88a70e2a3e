"""The slots of a lane: runs of long texts are not in progress together, and no call is overtaken for its size."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes import PATIENCE, Caller, Engine, Row, wait_for
from onnx_ml_bridge import StoppedError
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.lane import Lane, LaneOptions
from onnx_ml_bridge.runtime.lane_call import Run, run_of

LIMIT = 10


class Progress:
    """Runs that record how many slots are taken while they are in progress."""

    def __init__(self, lane: Lane) -> None:
        self.highest, self.together = 0, 0
        self._lane, self._lock, self._now, self._runs = lane, threading.Lock(), 0, 0

    def run(self, row: Row) -> Run:
        return run_of([row], self._work, key=None, max_tokens=LIMIT)

    def _work(self, rows: Sequence[Row], stop: Any) -> list[int]:
        slots = self.run(rows[0]).slots(self._lane.workers)
        self._count(slots, 1)
        threading.Event().wait(0.0005)  # lets other threads start their runs
        self._count(-slots, -1)
        return [row.value for row in rows]

    def _count(self, slots: int, runs: int) -> None:
        with self._lock:
            self._now, self._runs = self._now + slots, self._runs + runs
            self.highest, self.together = max(self.highest, self._now), max(self.together, self._runs)


def queued(lane: Lane, count: int) -> None:
    """Wait until the runs of a number of calls wait in a lane."""
    wait_for(lambda: len(lane._queue) == count)


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "slots"),
    [([1], 0, 1), ([500], 0, 1), ([10], 10, 1), ([11], 10, 2), ([5, 5], 10, 1), ([4, 4, 4], 10, 2), ([99], 10, 4)],
)
def test_a_run_takes_a_slot_for_every_limit_of_padded_tokens(lengths, max_tokens, slots):
    rows = [Row(number, length) for number, length in enumerate(lengths)]
    assert run_of(rows, lambda rows, stop: rows, key=None, max_tokens=max_tokens).slots(4) == slots


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=8), st.integers(1, 4))
def test_runs_take_as_many_slots_as_there_are_workers_and_all_are_answered(calls, workers):
    lane = Lane(workers=workers, counts_tokens=True)
    progress = Progress(lane)
    callers = [
        Caller(lane, [progress.run(Row(number, length)) for number, length in enumerate(lengths)]) for lengths in calls
    ]
    assert [each.result() for each in callers] == [[[number] for number in range(len(each))] for each in calls]
    assert progress.highest <= workers


def test_short_runs_are_in_progress_together():
    lane = Lane(LaneOptions(merge=False), workers=3, counts_tokens=True)
    engine = Engine()
    engine.free.clear()
    callers = [Caller(lane, [engine.run(Row(number, LIMIT), max_tokens=LIMIT)]) for number in range(3)]
    wait_for(lambda: len(engine.runs) == 3)
    engine.free.set()
    assert [each.result() for each in callers] == [[[0]], [[10]], [[20]]]


def test_a_long_run_waits_for_its_slots_and_is_not_overtaken():
    lane = Lane(LaneOptions(merge=False), workers=2, counts_tokens=True)
    engine = Engine()
    engine.free.clear()
    first = Caller(lane, [engine.run(Row(1, LIMIT), max_tokens=LIMIT)])
    wait_for(lambda: engine.runs == [[1]])
    long = Caller(lane, [engine.run(Row(2, 3 * LIMIT), max_tokens=LIMIT)])
    queued(lane, 1)
    short = Caller(lane, [engine.run(Row(3, LIMIT), max_tokens=LIMIT)])
    queued(lane, 2)
    assert engine.runs == [[1]], "the short run would fit, but the long one came first"
    engine.free.set()
    assert [each.result() for each in (first, long, short)] == [[[10]], [[20]], [[30]]]
    assert engine.runs == [[1], [2], [3]]


def test_a_short_run_starts_when_the_long_one_before_it_is_stopped():
    lane, watch = Lane(LaneOptions(merge=False), workers=2, counts_tokens=True), Watch()
    engine = Engine()
    engine.free.clear()
    first = Caller(lane, [engine.run(Row(1, LIMIT), max_tokens=LIMIT)])
    wait_for(lambda: engine.runs == [[1]])
    long = Caller(lane, [engine.run(Row(2, 3 * LIMIT), max_tokens=LIMIT)], watch)
    queued(lane, 1)
    short = Caller(lane, [engine.run(Row(3, LIMIT), max_tokens=LIMIT)])
    queued(lane, 2)
    watch.stop("cancelled")
    wait_for(lambda: engine.runs == [[1], [3]])
    engine.free.set()
    assert [each.result() for each in (first, short)] == [[[10]], [[30]]]
    with pytest.raises(StoppedError):
        long.result()


def test_when_a_long_run_ends_all_workers_go_on():
    lane = Lane(LaneOptions(merge=False), workers=4, counts_tokens=True)
    engine, together = Engine(), threading.Barrier(4)
    engine.free.clear()
    long = Caller(lane, [engine.run(Row(1, 9 * LIMIT), max_tokens=LIMIT)])
    wait_for(lambda: engine.runs == [[1]])

    def work(rows: Sequence[Row], stop: Any) -> list[int]:
        together.wait(PATIENCE)
        return [row.value for row in rows]

    callers = [Caller(lane, [run_of([Row(number)], work, key=None, max_tokens=LIMIT)]) for number in range(4)]
    queued(lane, 4)
    engine.free.set()
    assert long.result() == [[10]]
    assert [each.result() for each in callers] == [[[0]], [[1]], [[2]], [[3]]]


def test_runs_are_in_progress_together_only_while_they_may_overlap():
    overlaps = [False]
    lane = Lane(LaneOptions(merge=False), workers=3, may_overlap=lambda: overlaps[0])
    engine = Engine()
    engine.free.clear()
    callers = [Caller(lane, [engine.run(Row(number))] * 2) for number in range(3)]
    queued(lane, 2 + 1)  # the first call has a second run
    wait_for(lambda: engine.runs)
    threading.Event().wait(0.05)
    assert len(engine.runs) == 1
    overlaps[0] = True
    last = Caller(lane, [engine.run(Row(3))])
    wait_for(lambda: len(engine.runs) == 3)
    overlaps[0] = False
    engine.free.set()
    assert [each.result() for each in callers] == [[[0]] * 2, [[10]] * 2, [[20]] * 2]
    assert last.result() == [[30]]
