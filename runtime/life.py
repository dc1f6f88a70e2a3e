"""What the life of all models of the process shares: one lock, and the models that the calls of each thread use."""

from __future__ import annotations

import threading
from typing import Any

from .cancellation import Watch
from .forking import call_after_fork

# How often a call that waits checks whether it was stopped, in seconds.
_CHECK_INTERVAL = 0.02


class _Life:
    """The lock of the states of all models, which is held only for short times; `changed` also tells of changes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._threads = threading.local()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock in a child process."""
        self.changed = threading.Condition()

    def wait(self, watch: Watch | None) -> None:
        """Wait for a change; the lock is held before and after.

        :raises StoppedError: if the watch stopped the call.
        """
        if watch is not None:
            watch.check()
        self.changed.wait(_CHECK_INTERVAL)

    def calls_of_thread(self) -> list[Any]:
        """Return the models of the calls that run in this thread, the outer ones first."""
        calls: list[Any] = self._threads.__dict__.setdefault("calls", [])
        return calls


LIFE = _Life()
