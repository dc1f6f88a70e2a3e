"""Call functions after a time: one thread of the process waits for all of them."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from ..artifacts.errors import OverloadedError
from .forking import call_after_fork

logger = logging.getLogger(__name__)
# Cancelled deadlines are removed from the heap when they are more than this many and more than half of it.
_MIN_CANCELLED = 64


class Deadline:
    """A function that is called after a time, unless it is cancelled before."""

    def __init__(self, timer: _Timer, action: Callable[[], None]) -> None:
        """Create a deadline of a timer, in the thread that may go on in a child process."""
        self.action: Callable[[], None] | None = action
        self.owner = threading.get_ident()
        self._timer = timer

    def cancel(self) -> None:
        """Do not call the function any more. Has no effect if it was called."""
        self._timer.cancel(self)


class _Timer:
    """A heap of deadlines, and the thread that waits for the first of them; the first deadline starts the thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._reset([])
        call_after_fork(self)

    def _reset(self, heap: list[tuple[float, int, Deadline]]) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap = heap
        self._cancelled = 0
        self._is_running = False

    def _after_fork(self) -> None:
        """Keep the deadlines of the thread that forked, which is the only one in a child process."""
        here = threading.get_ident()
        self._reset(sorted(entry for entry in self._heap if entry[2].action is not None and entry[2].owner == here))
        if self._heap:
            with self._lock:
                self._start()

    def add(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Call a function after some seconds; see `call_after`."""
        deadline = Deadline(self, action)
        entry = (time.monotonic() + seconds, next(self._numbers), deadline)
        with self._lock:
            if not self._is_running:
                self._start()
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._changed.notify()
        return deadline

    def cancel(self, deadline: Deadline) -> None:
        """Forget a deadline; its entry leaves the heap later."""
        with self._lock:
            if deadline.action is None:
                return
            deadline.action = None
            self._cancelled += 1
            if self._cancelled > max(_MIN_CANCELLED, len(self._heap) // 2):
                self._heap = [entry for entry in self._heap if entry[2].action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def _start(self) -> None:
        try:
            threading.Thread(target=self._wait, name="onnx-ml-bridge deadlines", daemon=True).start()
        except RuntimeError as error:
            raise OverloadedError("the system refuses the thread of the time limits") from error
        self._is_running = True

    def _wait(self) -> None:
        while True:
            action = self._next_action()
            try:
                action()
            except Exception:  # the thread is for all calls
                logger.exception("the action of a time limit failed")

    def _next_action(self) -> Callable[[], None]:
        """Wait for the first deadline and take its function."""
        with self._lock:
            while True:
                rest = self._heap[0][0] - time.monotonic() if self._heap else None
                if rest is None or rest > 0:
                    self._changed.wait(rest)
                    continue
                deadline = heapq.heappop(self._heap)[2]
                action, deadline.action = deadline.action, None
                if action is not None:
                    return action
                self._cancelled -= 1


_timer = _Timer()


def call_after(seconds: float, action: Callable[[], None]) -> Deadline:
    """Call a function once after some seconds, in the thread of the time limits; it must return quickly.

    :raises OverloadedError: if the system refuses this thread.
    """
    return _timer.add(seconds, action)
