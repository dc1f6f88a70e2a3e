"""Calls on a lane whose runs are functions of the test."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.lane import Lane
from onnx_ml_bridge.runtime.lane_call import Run, run_of

PATIENCE = 30.0


@dataclass(frozen=True)
class Row:
    """A row of tokens, which are all the same number."""

    value: int
    length: int = 1

    @property
    def ids(self) -> tuple[int, ...]:
        return (self.value,) * self.length


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true; the test fails if it takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition is still false"
        time.sleep(0.001)


@contextmanager
def interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on SIGINT, also in a process that was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def call(lane: Lane, runs: Iterable[Run], watch: Watch | None = None) -> list[Any]:
    """Run the runs of one call and return their answers in order."""
    with watch or Watch() as watch, lane.call(watch) as admitted:
        return [answers for _, answers in sorted(admitted.run(list(runs), is_last=True))]


class Caller(threading.Thread):
    """A call in a thread of its own, with its answers or its error."""

    def __init__(self, lane: Lane, runs: Iterable[Run], watch: Watch | None = None) -> None:
        super().__init__(daemon=True)
        self.answers: list[Any] | None = None
        self.error: BaseException | None = None
        self._arguments = lane, list(runs), watch
        self.start()

    def run(self) -> None:
        try:
            self.answers = call(*self._arguments)
        except BaseException as error:
            self.error = error

    def result(self) -> list[Any]:
        self.join(PATIENCE)
        assert not self.is_alive(), "the call hangs"
        if self.error is not None:
            raise self.error
        assert self.answers is not None
        return self.answers


class Engine:
    """Records which rows run together; a run waits as long as the engine is held."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.free.set()
        self._lock = threading.Lock()

    def work(self, rows: Sequence[Row], stop: Any) -> list[int]:
        with self._lock:
            self.runs.append([row.value for row in rows])
            self.threads.add(threading.get_ident())
        assert self.free.wait(PATIENCE)
        return [10 * row.value for row in rows]

    def run(self, *rows: Row | int, key: Any = "key", max_tokens: int = 100) -> Run:
        made = [row if isinstance(row, Row) else Row(row) for row in rows]
        return run_of(made, self.work, key=key, max_tokens=max_tokens)

    def apart(self, *rows: int) -> list[Run]:
        """One run for each row; none of them is merged."""
        return [self.run(row, key=None) for row in rows]


def waiting(lane: Lane, count: int) -> None:
    """Wait until a number of calls wait in a lane with their runs: a call is counted already before it adds them."""

    def do_all_wait() -> bool:
        with lane._lock:
            return len(lane._calls) == count and all(call.runs for call in lane._calls)

    wait_for(do_all_wait)
