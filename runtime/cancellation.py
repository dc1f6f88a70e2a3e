"""Ending a call before it has an answer: from another thread, or when its time is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from ..artifacts.errors import ConfigError, StoppedError

_MESSAGES = {"cancelled": "the call was cancelled", "timeout": "the call took longer than it was given"}


class CancelToken:
    """Cancels the calls it was given to, those that run and those still to come. Thread-safe; cannot be taken back."""

    def __init__(self) -> None:
        """Start without any call."""
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Stop every call that has the token; returns at once."""
        with self._lock:
            self._is_cancelled = True
            watches = list(self._watches)
        for watch in watches:
            watch.stop("cancelled")

    def _attach(self, watch: Watch) -> None:
        with self._lock:
            self._watches.add(watch)
            is_cancelled = self._is_cancelled
        if is_cancelled:
            watch.stop("cancelled")

    def _detach(self, watch: Watch) -> None:
        with self._lock:
            self._watches.discard(watch)


class Watch:
    """What may stop one call: a token, a time limit, or nothing. A context manager around the call's work."""

    def __init__(self, timeout: float | None = None, cancel: CancelToken | None = None) -> None:
        """Take what the call was given.

        :param timeout: seconds from the start of the call.
        :raises ConfigError: for a timeout that is no number above 0.
        """
        check_timeout(timeout)
        self._lock = threading.Lock()
        self._running: list[Any] = []
        self._reason: str | None = None
        self._cancel = cancel
        self._timer = None if timeout is None else threading.Timer(timeout, self.stop, ("timeout",))
        if self._timer is not None:
            self._timer.daemon = True

    def __enter__(self) -> Watch:
        """Begin to watch."""
        if self._timer is not None:
            self._timer.start()
        if self._cancel is not None:
            self._cancel._attach(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch; a stop has no effect any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._cancel is not None:
            self._cancel._detach(self)

    def stop(self, reason: str) -> None:
        """End the call with the code `reason`; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason
            for options in self._running:
                options.terminate = True

    def check(self) -> None:
        """Raise `StoppedError` if the call is to end."""
        if self._reason is not None:
            raise StoppedError(self._reason, _MESSAGES[self._reason])

    @contextmanager
    def running(self, options: Any) -> Iterator[None]:
        """Around a run of a graph with these `onnxruntime.RunOptions`, which a stop terminates.

        :raises StoppedError: when the call is to end already, or ends while the graph runs.
        """
        with self._lock:
            self.check()
            self._running.append(options)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(options)


def check_timeout(timeout: float | None) -> None:
    """Raise `ConfigError` for a timeout that is no number of seconds above 0."""
    if timeout is None:
        return
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= threading.TIMEOUT_MAX:  # NaN is not
        raise ConfigError("timeout", expected="seconds, a number above 0", actual=repr(timeout))
