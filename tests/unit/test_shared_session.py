"""Runs of one session at the same time: the same bits as alone, errors, interrupts, and the end of the session."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import VALID
from lanes import PATIENCE, interrupts, wait_for
from onnx_ml_bridge import InferenceError
from onnx_ml_bridge.runtime import shared_session
from onnx_ml_bridge.runtime.pending_release import PENDING_RELEASE
from onnx_ml_bridge.runtime.session import GraphSession, create_session
from onnx_ml_bridge.runtime.shared_session import SharedSession

GRAPH = VALID / "tiny-embedding/onnx/model_int8.onnx"
OUTPUTS = ["sentence_embedding"]
TASKS = Path("/proc/self/task")


def feeds(rows: int, tokens: int) -> dict[str, Any]:
    ids = np.random.default_rng(rows * tokens).integers(5, 60, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


class Recorder:
    """A session that counts its runs, and holds those on the threads of callers."""

    def __init__(self, session: Any) -> None:
        self.here, self.own = 0, 0
        self.free = threading.Event()
        self.free.set()
        self._session = session

    def run(self, *arguments: Any) -> Any:
        self.here += 1
        assert self.free.wait(PATIENCE)
        return self._session.run(*arguments)

    def run_async(self, *arguments: Any) -> Any:
        self.own += 1
        return self._session.run_async(*arguments)


def options() -> Any:
    import onnxruntime

    made = onnxruntime.RunOptions()
    made.log_severity_level = 4
    return made


@pytest.fixture
def held():
    """A shared session of two threads with a run on the thread of its caller, and the recorder of its runs."""
    recorder = Recorder(create_session(GRAPH, 2))
    shared = SharedSession(recorder, 2)
    recorder.free.clear()
    first = threading.Thread(target=shared.run, args=(OUTPUTS, feeds(1, 4), options()))
    first.start()
    wait_for(lambda: recorder.here and PENDING_RELEASE.allows_run())
    yield shared, recorder
    recorder.free.set()
    first.join()


def test_a_run_that_is_alone_is_on_the_thread_of_its_caller():
    recorder = Recorder(create_session(GRAPH, 2))
    shared = SharedSession(recorder, 2)
    for rows in range(1, 5):
        shared.run(OUTPUTS, feeds(rows, 6), options())
    assert (recorder.here, recorder.own) == (4, 0)


def test_a_run_beside_another_one_is_on_a_thread_of_the_session(held):
    shared, recorder = held
    (found,) = shared.run(OUTPUTS, feeds(3, 7), options())
    assert (recorder.here, recorder.own) == (1, 1)
    (expected,) = create_session(GRAPH, 1).run(OUTPUTS, feeds(3, 7))
    assert np.array_equal(found, expected)


def test_the_error_of_a_run_on_a_thread_of_the_session_is_raised():
    shared = SharedSession(create_session(GRAPH, 2), 2)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        shared._run_on_own_thread(OUTPUTS, feeds(2, 3) | {"attention_mask": np.ones((5,), np.int64)}, options())
    with pytest.raises(Exception, match="no_such_input"):
        shared._run_on_own_thread(OUTPUTS, {"no_such_input": np.ones((1, 1))}, options())
    assert np.isfinite(shared.run(OUTPUTS, feeds(1, 4), options())[0]).all(), "the session is still usable"


def test_a_run_on_a_thread_of_the_session_can_be_terminated():
    shared = SharedSession(create_session(GRAPH, 2), 2)
    stopped = options()
    stopped.terminate = True
    with pytest.raises(Exception, match="terminate"):
        shared._run_on_own_thread(OUTPUTS, feeds(2, 3), stopped)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_concurrent_runs_have_the_bits_of_runs_alone(threads):
    session = GraphSession(GRAPH, threads)
    cases = [feeds(rows, tokens) for rows in (1, 3, 8) for tokens in (1, 5, 30)]
    alone = [session.run(OUTPUTS, case)[0] for case in cases]
    failures: list[str] = []

    def run(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, len(cases), 60):
            if not np.array_equal(session.run(OUTPUTS, cases[index])[0], alone[index]):
                failures.append(f"case {index} of thread {seed}")

    callers = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive(), "a run hangs"
    assert not failures
    with pytest.raises(InferenceError, match="model_int8"):
        session.run(["no_such_output"], cases[0])


@pytest.mark.skipif(not TASKS.exists(), reason="needs the list of threads in /proc")
def test_a_session_ends_while_a_thread_of_it_returns_from_its_last_run(monkeypatch):
    """The end of a session waits for its threads, and holds the lock of the interpreter meanwhile."""
    monkeypatch.setattr(SharedSession, "run", SharedSession._run_on_own_thread)
    before, interval = len(list(TASKS.iterdir())), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def cycles() -> None:
        for rows in range(1, 30):
            session = GraphSession(GRAPH, 2)
            session.run(OUTPUTS, feeds(rows, 9))
            session.unload()

    thread = threading.Thread(target=cycles, daemon=True)
    thread.start()
    while thread.is_alive():  # a main thread that waits would let the sessions stay
        time.sleep(0.0001)
    sys.setswitchinterval(interval)
    wait_for(lambda: len(list(TASKS.iterdir())) <= before)


class Interrupted:
    """A session whose runs on its own threads have values, and interrupt the main thread at this time."""

    def __init__(self, has_values: bool) -> None:
        self.has_values = has_values

    def run_async(self, outputs: Any, feeds: Any, callback: Any, user_data: Any, options: Any) -> None:
        self.callback, self.user_data, self.options = callback, user_data, options
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        time.sleep(0.05)
        if self.has_values:
            self.callback([], self.user_data, "")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        if not self.has_values:
            try:
                wait_for(lambda: self.options.terminate)
            finally:  # a test that fails does not hang
                self.callback([], self.user_data, "")

    def run(self, *arguments: Any) -> Any:
        return [0.0]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals of threads")
@pytest.mark.parametrize("has_values", [False, True])
def test_an_interrupt_ends_the_run_and_is_raised(monkeypatch, has_values):
    monkeypatch.setattr(shared_session, "_END_SECONDS", 0.1)
    with interrupts(), pytest.raises(KeyboardInterrupt):
        SharedSession(Interrupted(has_values), 2)._run_on_own_thread(OUTPUTS, {}, options())
        time.sleep(PATIENCE)  # the interrupt may come after the values


def test_only_sessions_with_several_threads_of_their_own_are_shared():
    assert not isinstance(GraphSession(GRAPH, 1)._loaded(), SharedSession)
    assert isinstance(GraphSession(GRAPH, 2)._loaded(), SharedSession)
