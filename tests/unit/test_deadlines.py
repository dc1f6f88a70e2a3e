"""Time limits: one thread for all of them, in the order of their times."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from lanes import PATIENCE, wait_for
from onnx_ml_bridge import OverloadedError
from onnx_ml_bridge.runtime import deadlines
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.deadlines import _Timer, call_after


def test_functions_are_called_in_the_order_of_their_times_by_one_thread(monkeypatch):
    called, seen, now = [], set(), time.monotonic()

    def action(number: int) -> None:
        called.append(number)
        seen.add(threading.get_ident())

    with monkeypatch.context() as stopped:
        # The clock of the time limits stands still until all of them are known
        stopped.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: now))
        for number in (5, 1, 4, 2, 3):
            call_after(0.01 * number, lambda number=number: action(number))
    wait_for(lambda: len(called) == 5)
    assert called == [1, 2, 3, 4, 5] and len(seen) == 1


def test_1000_time_limits_need_one_thread():
    before = threading.active_count()
    watches = [Watch(PATIENCE) for _ in range(1000)]
    for watch in watches:
        watch.__enter__()
    assert threading.active_count() <= before + 1
    for watch in watches:
        watch.__exit__(None, None, None)


def test_a_cancelled_deadline_is_not_called_and_leaves_the_heap():
    timer, called = _Timer(), []
    first = timer.add(0.02, lambda: called.append("first"))
    waiting = [timer.add(PATIENCE, lambda: called.append("never")) for _ in range(1000)]
    for deadline in [*waiting, *waiting]:
        deadline.cancel()
    assert len(timer._heap) <= 2 * deadlines._MIN_CANCELLED
    wait_for(lambda: called == ["first"])
    first.cancel()  # has no effect any more
    timer.add(0.001, lambda: called.append("second"))
    wait_for(lambda: called == ["first", "second"])


def test_an_action_that_fails_does_not_end_the_thread(caplog):
    called = []
    call_after(0.001, lambda: 1 // 0)
    call_after(0.005, lambda: called.append(1))
    wait_for(lambda: called == [1])
    assert "the action of a time limit failed" in caplog.text


def test_deadlines_of_many_threads_are_all_called():
    lock, called = threading.Lock(), []

    def add(number: int) -> None:
        def action() -> None:
            with lock:
                called.append(number)

        call_after(0.0001 * (number % 50), action)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(2000)))
    wait_for(lambda: len(called) == 2000)
    assert sorted(called) == list(range(2000))


def test_a_refused_thread_is_an_error_and_the_next_call_tries_again(monkeypatch):
    timer = _Timer()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refused, pytest.raises(OverloadedError, match="refuses the thread"):
        refused.setattr(threading.Thread, "start", refuse)
        timer.add(0.001, lambda: None)
    called = []
    timer.add(0.001, lambda: called.append(1))
    wait_for(lambda: called == [1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_time_limits_of_the_thread_that_forks_apply_in_the_child():
    ended = threading.Event()
    with Watch(0.1) as watch, watch.listening(ended.set), deadlines._timer._lock:
        child = os.fork()
        if not child:
            try:
                os._exit(0 if ended.wait(PATIENCE) else 3)
            finally:
                os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
