"""Cancel a running call from another thread, or when its timeout has passed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from ..artifacts.errors import ConfigError, StoppedError
from .deadlines import Deadline, call_after
from .forking import call_after_fork

_MESSAGES = {"cancelled": "the call was cancelled", "timeout": "the call exceeded its timeout"}


class Stop(Protocol):
    """What can stop a run of a graph."""

    def check(self) -> None:
        """Raise `StoppedError` if the run is not needed any more."""

    def running(self, options: Any) -> AbstractContextManager[None]:
        """Terminate a run of a graph if it is not needed any more while this context is active.

        :param options: the `onnxruntime.RunOptions` of the run.
        :raises StoppedError: if it is not needed already.
        """


class CancelToken:
    """Cancels all calls it is passed to, running and future ones. Thread-safe; a cancellation cannot be undone."""

    def __init__(self) -> None:
        """Create a token that is not cancelled."""
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._is_cancelled = False
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock and forget the calls of other threads in a child process."""
        self._lock = threading.Lock()
        self._watches = set()

    def cancel(self) -> None:
        """Stop every call that the token was passed to. Returns at once, without waiting for the calls to end."""
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
    """Stops one call when its timeout passes or its token is cancelled. Used as a context manager around the call."""

    def __init__(self, timeout: float | None = None, cancel: CancelToken | None = None) -> None:
        """Create a watch; the time runs from `__enter__` on.

        :param timeout: seconds after which the call is stopped; None means no limit.
        :param cancel: the token that can stop the call, if any.
        :raises ConfigError: if the timeout is not a number above 0.
        """
        check_timeout(timeout)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._reason: str | None = None
        self._cancel = cancel
        self._timeout = timeout
        self._deadline: Deadline | None = None
        self._ends: float | None = None

    @property
    def ends(self) -> float | None:
        """When the time of the call is over, by `time.monotonic`; None without a limit, and before `__enter__`."""
        return self._ends

    def __enter__(self) -> Watch:
        """Start the time and register with the token."""
        if self._timeout is not None:
            self._ends = time.monotonic() + self._timeout
            self._deadline = call_after(self._timeout, partial(self.stop, "timeout"))
        if self._cancel is not None:
            self._cancel._attach(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the deadline and unregister from the token, so that neither of them can stop the call any more."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._cancel is not None:
            self._cancel._detach(self)

    def stop(self, reason: str) -> None:
        """Stop the call with the error code `reason`; later reasons are ignored."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def check(self) -> None:
        """Raise `StoppedError` if the call was stopped."""
        if self._reason is not None:
            raise StoppedError(self._reason, _MESSAGES[self._reason])

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call a function if the call is stopped while this context is active, at once if it is stopped already.

        :param listener: called in the thread that stops the call.
        """
        with self._lock:
            self._listeners.append(listener)
            is_stopped = self._reason is not None
        if is_stopped:
            listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    @contextmanager
    def running(self, options: Any) -> Iterator[None]:
        """Terminate a run of a graph if the call is stopped while this context is active; see `Stop`."""
        self.check()
        with self.listening(partial(setattr, options, "terminate", True)):
            yield


def check_timeout(timeout: float | None, name: str = "timeout") -> None:
    """Raise `ConfigError` unless the time, in seconds, is None or a number above 0.

    :param name: the name of the option.
    """
    if timeout is None:
        return
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= threading.TIMEOUT_MAX:  # false for NaN
        expected = f"a number of seconds above 0, at most {threading.TIMEOUT_MAX:.0f}"
        raise ConfigError(name, expected=expected, actual=repr(timeout))
