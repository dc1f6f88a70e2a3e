"""Skips a member of a chain for a time after it failed several times in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..runtime.forking import call_after_fork

MAX_FAILURES = 3
PAUSE_SECONDS = 30.0


class Pause:
    """Whether a member is skipped. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create the state of a member that did not fail yet.

        :param clock: returns the time in seconds.
        """
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock in a child process."""
        self._lock = threading.Lock()

    @property
    def is_active(self) -> bool:
        """Whether the member is skipped now."""
        return self._clock() < self._until

    def answered(self) -> None:
        """Forget the failures: the member works."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Count a call without any answer; after several in a row the member is skipped, and then has one new try."""
        with self._lock:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._until = self._clock() + PAUSE_SECONDS
                self._failures = MAX_FAILURES - 1
