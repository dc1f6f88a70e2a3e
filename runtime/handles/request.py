"""Counts one call of a handle: when it ends, its texts, their tokens and its errors are in the metrics of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from ...artifacts.errors import InferenceError, InputError, OnnxMlBridgeError, StoppedError
from ..meter import Meter


class Request:
    """A context around a call. A call with an error of single texts was answered, one with an error of all was not."""

    def __init__(self, meter: Meter, items: int, tokens: Callable[[Any], int]) -> None:
        """Begin a call.

        :param items: the number of its texts.
        :param tokens: returns the number of tokens of a result.
        """
        self.outcomes: dict[int, Any] = {}  # the result or the error of each text
        self._meter = meter
        self._items = items
        self._tokens = tokens
        self._started = time.perf_counter()

    def start(self, meter: Meter) -> None:
        """Begin to measure the time, now that the model is loaded; its meter counts the call."""
        self._meter = meter
        self._started = time.perf_counter()

    def __enter__(self) -> Request:
        """Return the call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count the call."""
        missing = self._items - len(self.outcomes)
        if isinstance(error, StoppedError) and missing:
            self._meter.errors(error.code, missing)
        elif error is not None and not isinstance(error, StoppedError):
            _count_error(self._meter, error)
            if not _is_of_one_text(error):
                return
        self._count()

    def _count(self) -> None:
        tokens = 0
        for outcome in self.outcomes.values():
            if isinstance(outcome, OnnxMlBridgeError):
                self._meter.errors(outcome.code)
            else:
                tokens += self._tokens(outcome)
        self._meter.request(self._items, tokens, time.perf_counter() - self._started)


@contextmanager
def counted_errors(meter: Meter) -> Iterator[None]:
    """Count an error of a whole call."""
    try:
        yield
    except Exception as error:
        _count_error(meter, error)
        raise


def _count_error(meter: Meter, error: BaseException) -> None:
    """Count an error by its code; interrupts of the process are none."""
    if isinstance(error, Exception):
        meter.errors(error.code if isinstance(error, OnnxMlBridgeError) else "internal")


def _is_of_one_text(error: BaseException) -> bool:
    return isinstance(error, InferenceError) or (isinstance(error, InputError) and error.index is not None)
