"""What ONNX Runtime keeps of `run_async` until the main thread of the process executes Python code.

ONNX Runtime keeps a reference to the session of every run, and releases it in a pending call of CPython, which only the
main thread executes. While the main thread waits for a lock, or is in C code, a session that was unloaded stays in
memory. From then on, no run may use `run_async` until the main thread goes on. So a model that is reloaded again and
again leaves one session, not all of them.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from queue import Empty, SimpleQueue
from typing import Any

from .forking import abandon, call_after_fork

# So many references, of 8 bytes each, may wait for their release.
_MAX_RUNS = 1_000_000
# After so many runs, the main thread is asked whether it has released their references.
_ASK_AFTER = 10_000
# A main thread that waits here executes Python code after this many seconds.
_PAUSE_SECONDS = 0.5


class PendingRelease:
    """Tells whether a run may use `run_async`. Thread-safe.

    It has no lock: the main thread could execute the pending call while it holds it.
    """

    def __init__(self) -> None:
        """Begin without runs."""
        self._answer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._execute)
        # The sessions that have ended. One that is freed in a child process would wait for threads that do not exist.
        self._ended: list[Any] = []
        self._reset()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Forget all runs, and never free the sessions of the parent."""
        for session in self._ended:
            abandon(session)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._runs = 0  # since the last answer; two threads that count at the same time may add only one
        self._is_asked = False
        self._ended.clear()

    def allows_run(self) -> bool:
        """Whether a run may use `run_async`. Never waits."""
        if not self._ended and self._runs < _MAX_RUNS:
            return True
        self._ask()
        return False

    def run_ended(self) -> None:
        """Count a run of `run_async`."""
        self._runs += 1
        if self._runs >= _ASK_AFTER:
            self._ask()

    def session_ended(self, session: Any) -> None:
        """Allow no further run until the main thread has released a session, which had such runs."""
        self._ended.append(session)
        self._ask()

    def _ask(self) -> None:
        """Let the main thread answer by a pending call, which comes after those of ONNX Runtime."""
        if not self._is_asked:
            self._is_asked = True
            if ctypes.pythonapi.Py_AddPendingCall(self._answer, None) != 0:  # too many pending calls
                self._is_asked = False

    def _execute(self, _: Any) -> int:
        """Release the sessions. A child process comes here before `_after_fork`."""
        try:
            if self._process == os.getpid():
                self._reset()
        except KeyboardInterrupt:  # an exception cannot leave a pending call, and the interrupt has to come after it
            self._reset()
            _thread.start_new_thread(_thread.interrupt_main, ())
        return 0  # success


PENDING_RELEASE = PendingRelease()


def get(queue: SimpleQueue[Any]) -> Any:
    """Wait for the next item of a queue. The main thread executes pending calls meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return queue.get()
    while True:
        try:
            return queue.get(timeout=_PAUSE_SECONDS)
        except Empty:
            continue
