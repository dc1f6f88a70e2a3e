"""Whether the main thread of the process executes Python code.

`run_async` of ONNX Runtime needs this: it keeps a reference to its session, and releases it in a pending call of
CPython, which only the main thread executes. While the main thread waits for a lock, or is in C code, an unloaded
session would stay in memory.
"""

from __future__ import annotations

import ctypes
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

from .forking import call_after_fork

# A main thread that executes no Python code for this many seconds does not answer.
_PATIENCE_SECONDS = 5.0
# An answer is valid for this many seconds.
_VALID_SECONDS = 0.1
# A main thread that waits here executes Python code after this many seconds.
_PAUSE_SECONDS = 0.5


class MainThread:
    """Asks the main thread, by a pending call of CPython, whether it executes Python code. Thread-safe."""

    def __init__(self) -> None:
        """Ask nothing yet."""
        self._asked: float | None = None  # when the question was asked that has no answer yet
        self._answered = float("-inf")
        self._answer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._execute)
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Ask again in a child process, whose main thread is the one that forked."""
        self._asked, self._answered = None, float("-inf")

    def answers(self) -> bool:
        """Whether the main thread has executed Python code in the last seconds. Never waits."""
        now = time.monotonic()
        asked = self._asked
        if asked is not None:
            return now - asked < _PATIENCE_SECONDS
        return now - self._answered < _VALID_SECONDS or self._ask(now)

    def _ask(self, now: float) -> bool:
        """Ask the main thread. False if CPython accepts no further pending call, because too many wait already."""
        self._asked = now
        if ctypes.pythonapi.Py_AddPendingCall(self._answer, None) != 0:
            self._asked = None
            return False
        return True

    def _execute(self, _: Any) -> int:
        self._asked, self._answered = None, time.monotonic()
        return 0  # success


MAIN_THREAD = MainThread()


def get(queue: SimpleQueue[Any]) -> Any:
    """Wait for the next item of a queue. The main thread answers meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return queue.get()
    while True:
        try:
            return queue.get(timeout=_PAUSE_SECONDS)
        except Empty:
            continue
