"""The runs of one call on a lane, and a turn: what one worker runs at once for one or several calls."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import InferenceError, StoppedError
from .cancellation import Stop, Watch
from .pending_release import get
from .tokenizer import HasIds

# One answer for each row.
Answers: TypeAlias = Sequence[Any] | NDArray[Any]
# A function that runs rows.
Work: TypeAlias = Callable[[Sequence[Any], Stop], Answers]


@dataclass(frozen=True, eq=False)
class Run:
    """A run that waits: rows, and the function that runs them.

    Runs with equal keys may be merged: their rows then run together, up to `max_tokens` padded tokens. A run without a
    key is never merged. `longest` is the number of tokens of the longest row, `tokens` that of all rows.
    """

    rows: Sequence[Any]
    work: Work
    key: Hashable = None
    longest: int = 0
    tokens: int = 0
    max_tokens: int = 0

    def slots(self, limit: int) -> int:
        """Return how many slots of a lane the run takes: one for every `max_tokens` of its padded tokens.

        :param limit: the maximum, and the number of slots of the lane.
        """
        if not self.max_tokens:
            return 1
        padded = self.longest * len(self.rows)
        return max(1, min(limit, -(-padded // self.max_tokens)))


def run_of(rows: Sequence[HasIds], work: Work, *, key: Hashable, max_tokens: int) -> Run:
    """Return a run of rows of tokens, which can be merged with runs that have an equal key."""
    lengths = [len(row.ids) for row in rows]
    return Run(rows, work, key, max(lengths), sum(lengths), max_tokens)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The answers of a run of a call, or its error; `number` counts the runs of the call from 0."""

    number: int
    answers: Any = None
    error: BaseException | None = None


class Scheduler(Protocol):
    """The methods of a lane that a call uses."""

    def add(self, call: Call, runs: Sequence[Run], is_last: bool) -> None:
        """Let runs of a call wait for their turns."""

    def run_here(self, call: Call, *, is_told: bool = False) -> None:
        """Run the next run of a call in this thread if no other call is before it and a worker is free."""

    def pause_at_exit(self) -> None:
        """Let a daemon thread wait for the end of the process, once it has begun."""

    def leave(self, call: Call) -> None:
        """Forget the runs of a call that have not started, and terminate a run that no call needs any more."""


# What the queue of outcomes holds besides outcomes: the call was stopped, or its thread has to run the next turn.
_STOPPED = object()
_YOUR_TURN = object()


class Call:
    """One call on a lane. `run`, `in_order` and `submit` are for the thread of the caller."""

    def __init__(self, lane: Scheduler, watch: Watch) -> None:
        """Create a call without runs.

        :param watch: stops the call.
        """
        self.watch = watch
        self.owner = threading.get_ident()
        # The state below is changed under the lock of the lane. `may_grow` is false when the caller adds no more runs.
        self.runs: deque[tuple[int, Run]] = deque()
        self.turns: list[Turn] = []
        self.may_grow = True
        self.added: float | None = None  # when the first runs came, by `time.perf_counter`
        self.is_queued = False
        self.is_gone = False
        self._lane = lane
        self._submitted = 0
        self._outcomes: SimpleQueue[Any] = SimpleQueue()

    def run(self, runs: Sequence[Run], *, is_last: bool) -> Iterator[tuple[int, Any]]:
        """Run runs and yield the index and the answers of each, as soon as they are ready.

        :param is_last: whether the call has no further runs.
        :raises StoppedError: if the watch stopped the call; answers that are ready are yielded first.
        """
        first = self._submitted
        self.submit(runs, is_last=is_last)
        for _ in runs:
            number, answers = self._next()
            yield number - first, answers

    def in_order(self, runs: Iterable[Run], ahead: int) -> Iterator[Any]:
        """Yield the answers of runs in their order; the runs are created only a few ahead of the answers."""
        ready: dict[int, Any] = {}
        rest = iter(runs)
        following, submitted, yielded = next(rest, None), 0, 0
        while following is not None:
            run, following = following, next(rest, None)
            self.submit([run], is_last=following is None)
            submitted += 1  # also if the lane ignores the run because the call was stopped
            while submitted - yielded > (ahead if following is not None else 0):
                while yielded not in ready:
                    ready.update([self._next()])
                yield ready.pop(yielded)
                yielded += 1

    def submit(self, runs: Sequence[Run], *, is_last: bool) -> None:
        """Let runs wait for their turns."""
        self._lane.add(self, runs, is_last)

    def number(self) -> int:
        """Return the number of the next run of the call."""
        self._submitted += 1
        return self._submitted - 1

    def _next(self) -> tuple[int, Any]:
        """Wait for the next answers and return them with the number of their run.

        A caller whose lane is idle runs its run itself: handing it to another thread and back takes longer than some
        runs. As soon as other calls wait, the workers take over.
        """
        is_told = False
        while True:
            if self._outcomes.empty():
                self._lane.run_here(self, is_told=is_told)
            outcome = get(self._outcomes)
            self._lane.pause_at_exit()
            is_told = outcome is _YOUR_TURN
            if outcome is _STOPPED:
                self.watch.check()
            elif not is_told:
                if outcome.error is None:
                    return outcome.number, outcome.answers
                try:
                    raise outcome.error
                finally:
                    del outcome  # the traceback of the error has this frame: together they would be a reference cycle

    def deliver(self, outcome: Outcome) -> None:
        """Give the outcome of a run to the thread of the caller."""
        self._outcomes.put(outcome)

    def wake(self) -> None:
        """Let the thread of the caller run the next turn."""
        self._outcomes.put(_YOUR_TURN)

    def stop(self) -> None:
        """Leave the lane because the watch stopped the call; the caller continues with the error of the watch."""
        self._lane.leave(self)
        self._outcomes.put(_STOPPED)


class Turn:
    """The runs of one or several calls that one worker runs at once, a `Stop` of their graph.

    The graph is terminated only if none of the calls needs it any more. The turn takes `slots` of the lane.
    """

    def __init__(self, lock: threading.Lock, call: Call, number: int, run: Run, slots: int) -> None:
        """Create a turn of one run.

        :param lock: the lock of the lane.
        """
        self.slots = slots
        self.runs: list[tuple[Call, int, Run]] = []
        self._lock = lock
        self._calls: list[Call] = []  # the calls that need the graph that runs now
        self._options: list[Any] = []
        self.add(call, number, run)

    def add(self, call: Call, number: int, run: Run) -> None:
        """Merge a run of another call into the turn."""
        self.runs.append((call, number, run))
        self._calls.append(call)

    def execute(self) -> list[Outcome]:
        """Run the rows of all runs together and return the outcome of each run; an exception is an outcome.

        If merged rows fail, the rows of every call run again apart, so that one call's error is not another's.
        """
        if len(self.runs) == 1:
            return [self._execute_one(*self.runs[0])]
        rows = [row for _, _, run in self.runs for row in run.rows]
        try:
            answers = self._checked(self.runs[0][2].work(rows, self), len(rows))
        except BaseException as error:  # a worker must answer all calls, whatever happens
            interrupt = None if isinstance(error, Exception) else error
            return [self._execute_apart(*each, interrupt) for each in self.runs]
        outcomes, start = [], 0
        for _, number, run in self.runs:
            end = start + len(run.rows)
            outcomes.append(Outcome(number, _own(answers[start:end])))
            start = end
        return outcomes

    def terminate_if_unneeded(self) -> None:
        """Terminate the graph if all calls are gone. The caller holds the lock."""
        if self._is_unneeded():
            for options in self._options:
                options.terminate = True

    def check(self) -> None:
        """Raise `StoppedError` if all calls are gone."""
        if self._is_unneeded():
            self._calls[0].watch.check()
            raise StoppedError("cancelled", "the caller does not wait for the answer any more")

    @contextmanager
    def running(self, options: Any) -> Iterator[None]:
        """Terminate a run of a graph if all calls are gone while this context is active; see `Stop`."""
        with self._lock:
            self.check()
            self._options.append(options)
        try:
            yield
        finally:
            with self._lock:
                self._options.remove(options)

    def _is_unneeded(self) -> bool:
        return all(call.is_gone for call in self._calls)

    def _execute_apart(self, call: Call, number: int, run: Run, interrupt: BaseException | None) -> Outcome:
        if interrupt is not None and call.owner == threading.get_ident():
            return Outcome(number, error=interrupt)
        with self._lock:
            self._calls = [call]
        return self._execute_one(call, number, run)

    def _execute_one(self, call: Call, number: int, run: Run) -> Outcome:
        try:
            self.check()
            return Outcome(number, self._checked(run.work(run.rows, self), len(run.rows)))
        except BaseException as error:  # of the caller's own thread too: it raises the error when it takes the outcome
            _clear_frames(error)
            return Outcome(number, error=error)

    @staticmethod
    def _checked(answers: Answers, rows: int) -> Answers:
        if len(answers) != rows:
            raise InferenceError(f"a run of {rows} rows has {len(answers)} answers")
        return answers


def _clear_frames(error: BaseException) -> None:
    """Clear the variables of all functions that an error has ended.

    They have the session: its memory would not be free before the error is gone, long after the model was unloaded.
    """
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__


def _own(answers: Answers) -> Answers:
    """Return the answers of one call without a reference to those of other calls."""
    return answers.copy() if isinstance(answers, np.ndarray) else answers
