"""The release of sessions after `run_async`: what a run may do while the main thread waits, and after a fork."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from examples import VALID
from lanes import PATIENCE, interrupts, wait_for
from onnx_ml_bridge.runtime import pending_release
from onnx_ml_bridge.runtime.pending_release import PENDING_RELEASE, PendingRelease, get
from onnx_ml_bridge.runtime.session import GraphSession
from onnx_ml_bridge.runtime.shared_session import SharedSession

GRAPH = VALID / "tiny-embedding/onnx/model_int8.onnx"
TASKS = Path("/proc/self/task")
# The functions in which the main thread waits: those of `Thread.join`, and `get` of this project
_WAITING = ("_wait_for_tstate_lock", "join", "get")


@pytest.fixture(autouse=True)
def released():
    """Begin and end with a main thread that has released everything."""
    wait_for(PENDING_RELEASE.allows_run)
    yield
    wait_for(PENDING_RELEASE.allows_run)


def main_thread_waits() -> None:
    """Return when the main thread has been at the same position of a function that waits for a while."""
    positions: list[tuple[str, int]] = []
    while len(positions) < 5 or len(set(positions[-5:])) > 1 or positions[-1][0] not in _WAITING:
        frame = sys._current_frames()[threading.main_thread().ident]
        positions.append((frame.f_code.co_name, frame.f_lasti))
        time.sleep(0.01)


def while_main_thread_waits(work: Callable[[], None]) -> None:
    """Run a function in another thread, as soon as the main thread waits for a lock."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            main_thread_waits()
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * PATIENCE)  # longer than the function waits for a condition, whose error says more
    assert not thread.is_alive(), "the function hangs"
    for error in errors:
        raise error


def test_no_run_is_allowed_after_the_end_of_a_session_until_the_main_thread_goes_on():
    pending, found = PendingRelease(), []

    def work() -> None:
        found.append(pending.allows_run())
        pending.session_ended("session")
        found.append(pending.allows_run())
        time.sleep(0.1)
        found.append(pending.allows_run())

    while_main_thread_waits(work)
    assert found == [True, False, False]
    wait_for(pending.allows_run)


def test_the_number_of_runs_without_an_answer_is_limited(monkeypatch):
    monkeypatch.setattr(pending_release, "_ASK_AFTER", 4)
    monkeypatch.setattr(pending_release, "_MAX_RUNS", 8)
    pending, found = PendingRelease(), []

    def work() -> None:
        for _ in range(10):
            found.append(pending.allows_run())
            pending.run_ended()

    while_main_thread_waits(work)
    assert found == [True] * 8 + [False] * 2
    wait_for(pending.allows_run)
    for _ in range(100):  # the main thread answers in between
        pending.run_ended()
        assert pending.allows_run()


def test_a_main_thread_in_the_queue_of_a_call_answers(monkeypatch):
    monkeypatch.setattr(pending_release, "_PAUSE_SECONDS", 0.02)
    pending, queue = PendingRelease(), SimpleQueue()

    def work() -> None:
        main_thread_waits()
        pending.session_ended("session")
        end = time.monotonic() + 5
        while not pending.allows_run() and time.monotonic() < end:
            time.sleep(0.01)
        queue.put(pending.allows_run())

    threading.Thread(target=work, daemon=True).start()
    assert get(queue)


def test_without_room_for_a_question_it_is_asked_again():
    executed: list[int] = []
    other = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: executed.append(1) or 0)
    pending, waiting = PendingRelease(), []

    def work() -> None:
        while ctypes.pythonapi.Py_AddPendingCall(other, None) == 0 and len(waiting) < 10_000:
            waiting.append(1)
        pending.session_ended("session")
        assert not pending.allows_run()

    while_main_thread_waits(work)
    wait_for(lambda: executed == waiting)
    wait_for(pending.allows_run)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_has_nothing_to_release():
    pending, children = PendingRelease(), []
    pending._ended, pending._is_asked = ["session"], True  # as if another thread were about to ask

    def work() -> None:
        child = os.fork()
        if child == 0:
            os._exit(not pending.allows_run())
        children.append(os.waitpid(child, 0)[1])

    while_main_thread_waits(work)
    assert children == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_does_not_free_a_session_of_its_parent():
    """It executes the pending calls of its parent, and the end of a session waits for threads that do not exist."""
    children: list[int] = []

    def work() -> None:
        session = GraphSession(GRAPH, 2)
        run_on_own_thread(session)
        session.unload()
        child = os.fork()
        if child == 0:
            os._exit(not PENDING_RELEASE.allows_run())
        children.append(status_of(child))

    while_main_thread_waits(work)
    assert children == [0]


def test_an_interrupt_while_the_main_thread_answers_is_not_lost(monkeypatch):
    pending, reset, calls = PendingRelease(), PendingRelease._reset, []

    def interrupted(self: PendingRelease) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        reset(self)

    monkeypatch.setattr(PendingRelease, "_reset", interrupted)
    with interrupts(), pytest.raises(KeyboardInterrupt):
        pending.session_ended("session")
        wait_for(lambda: False)
    assert pending.allows_run()


def status_of(child: int) -> int:
    """Return the status of a child process at its end; end it if it hangs."""
    end = time.monotonic() + PATIENCE
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return done[1]


def run_on_own_thread(session: GraphSession) -> None:
    ids = np.full((2, 6), 7)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    shared: Any = session._loaded()
    assert isinstance(shared, SharedSession)
    shared._here = 1  # as if another run were in progress
    session.run(["sentence_embedding"], feeds)


def other_threads() -> int:
    """The number of threads that Python has not started, such as those of sessions; idle workers end at any time."""
    listed = {int(path.name) for path in TASKS.iterdir()}
    return len(listed - {thread.native_id for thread in threading.enumerate()})


@pytest.mark.skipif(not TASKS.exists(), reason="needs the list of threads in /proc")
def test_one_unloaded_session_stays_while_the_main_thread_waits_and_no_further_one():
    GraphSession(GRAPH, 2).load()  # the first session starts threads that stay
    before = other_threads()

    def work() -> None:
        counts: list[int] = []
        for _ in range(10):
            session = GraphSession(GRAPH, 2)
            run_on_own_thread(session)
            session.unload()
            counts.append(other_threads())
            wait_for(lambda: other_threads() <= counts[0])  # the system lists an ended thread for a short time

    while_main_thread_waits(work)
    wait_for(lambda: other_threads() <= before)


def test_a_session_without_runs_on_its_threads_does_not_stop_others():
    ids = np.full((2, 6), 7)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    def work() -> None:
        session = GraphSession(GRAPH, 2)
        session.run(["sentence_embedding"], feeds)
        session.unload()
        assert PENDING_RELEASE.allows_run()

    while_main_thread_waits(work)
