"""Whether the main thread executes Python code: while it waits for a lock, in the queue of a call, and after a fork."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from examples import VALID
from lanes import PATIENCE, wait_for
from onnx_ml_bridge.runtime import main_thread
from onnx_ml_bridge.runtime.main_thread import MAIN_THREAD, MainThread, get
from onnx_ml_bridge.runtime.session import GraphSession
from onnx_ml_bridge.runtime.shared_session import SharedSession

TASKS = Path("/proc/self/task")
GRAPH = VALID / "tiny-embedding/onnx/model_int8.onnx"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Wait for shorter times, and end with a main thread that answers."""
    monkeypatch.setattr(main_thread, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(main_thread, "_VALID_SECONDS", 0.01)
    monkeypatch.setattr(main_thread, "_PAUSE_SECONDS", 0.02)
    yield
    wait_for(MAIN_THREAD.answers)


def while_main_thread_waits(work: Any) -> None:
    """Run a function in another thread, while the main thread waits for a lock."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the function hangs"
    for error in errors:
        raise error


def answers_for(asked: MainThread, seconds: float) -> list[bool]:
    """Ask again and again for a time, and return the answers."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(asked.answers())
        time.sleep(0.005)
    return found


def test_a_main_thread_that_executes_python_answers():
    asked = MainThread()
    assert all(answers_for(asked, 0.5))


def test_a_main_thread_that_waits_for_a_lock_does_not_answer_until_it_goes_on():
    asked, found = MainThread(), []
    while_main_thread_waits(lambda: found.extend(answers_for(asked, 0.6)))
    assert found == sorted(found, reverse=True), "it answered, and later it did not"
    assert found[0] and not found[-1]
    wait_for(asked.answers)


def test_a_main_thread_in_the_queue_of_a_call_answers():
    asked, queue, found = MainThread(), SimpleQueue(), []

    def work() -> None:
        found.extend(answers_for(asked, 0.6))
        queue.put("item")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert get(queue) == "item"
    assert all(found)


def test_without_room_for_a_question_there_is_no_answer():
    executed: list[int] = []
    other = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: executed.append(1) or 0)
    asked, found = MainThread(), []

    def work() -> None:
        waiting = 0
        while ctypes.pythonapi.Py_AddPendingCall(other, None) == 0 and waiting < 10_000:
            waiting += 1
        found.extend([waiting, asked.answers()])

    while_main_thread_waits(work)
    waiting, answered = found
    assert not answered
    wait_for(lambda: len(executed) == waiting)
    wait_for(asked.answers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_main_thread_of_a_child_process_is_the_one_that_forked():
    asked, children = MainThread(), []

    def work() -> None:
        asked._asked = 0.0  # as if another thread were about to ask at the time of the fork
        child = os.fork()
        if child == 0:
            os._exit(not all(answers_for(asked, 0.5)))
        children.append(os.waitpid(child, 0)[1])

    while_main_thread_waits(work)
    assert children == [0]


@pytest.mark.skipif(not TASKS.exists(), reason="needs the list of threads in /proc")
def test_sessions_are_freed_while_the_main_thread_does_not_answer():
    """ONNX Runtime would keep every session that had a run on one of its own threads."""
    ids = np.full((2, 6), 7)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    counts: list[int] = []

    def cycle() -> None:
        session = GraphSession(GRAPH, 2)
        assert isinstance(session._loaded(), SharedSession)
        session._loaded()._here = 1  # as if another run were in progress
        session.run(["sentence_embedding"], feeds)
        session.unload()
        counts.append(len(list(TASKS.iterdir())))

    def work() -> None:
        wait_for(lambda: not MAIN_THREAD.answers())
        for _ in range(10):
            cycle()

    while_main_thread_waits(work)
    assert counts == [counts[0]] * 10
