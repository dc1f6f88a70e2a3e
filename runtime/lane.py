"""The lane of a model: calls wait in a bounded queue and take turns, run by run.

A lane has a queue of calls and a few workers. A worker takes one run of the first call, merges rows of next runs of
other waiting calls with it if that fits, runs them, and puts the call back at the end of the queue. So a bulk call
gives way after every run. A caller that meets an idle lane is its own worker, under the same rules.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..artifacts.errors import InputError, OnnxMlBridgeError, OverloadedError, StoppedError
from .cancellation import Watch
from .forking import call_after_fork
from .lane_call import Call, Outcome, Run, Turn
from .lane_queue import LaneQueue
from .meter import Meter
from .options import DEFAULT_MAX_WAITING

# A worker without work ends after this many seconds, so that a model that is not used keeps no thread.
_LINGER_SECONDS = 60.0
# At the end of the process, workers have this many seconds to end their terminated runs.
_EXIT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class LaneOptions:
    """How the runs of one model are scheduled; None selects the default of the model's family.

    `workers` is the maximum number of runs at the same time, `run_tokens` the maximum number of padded tokens of a run.
    `merge` lets rows of several calls share a run. More than `max_waiting` waiting calls are refused.
    """

    workers: int | None = None
    run_tokens: int | None = None
    merge: bool = True
    max_waiting: int = DEFAULT_MAX_WAITING


@dataclass(frozen=True)
class LaneStatus:
    """What a lane did and does.

    `waiting` is the number of calls with runs that have not started, `running` the number of runs in progress.
    `last_success` is the time of the last successful run in seconds since 1970, None before it. `error` is the code of
    the last run if the model failed in it.
    """

    waiting: int
    running: int
    last_success: float | None
    error: str | None


class Lane:
    """Schedules the runs of one model. Thread-safe; threads start with the first call that finds the lane busy."""

    def __init__(
        self,
        options: LaneOptions | None = None,
        *,
        workers: int = 1,
        counts_tokens: bool = False,
        may_overlap: Callable[[], bool] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Create a lane without threads.

        :param workers: the number of workers if the options have none.
        :param counts_tokens: whether a run of more than its `max_tokens` takes several slots.
        :param may_overlap: whether a run may start now while another one is in progress; None means that it always may.
        :param meter: records how calls wait.
        """
        options = LaneOptions() if options is None else options
        self.workers = options.workers or workers
        self._counts_tokens, self._may_overlap = counts_tokens, may_overlap
        self._merge = options.merge
        self._max_waiting = options.max_waiting
        self._last_success: float | None = None
        self._error: str | None = None
        self._meter = meter
        self._reset(())
        call_after_fork(self)
        if meter is not None:
            meter.watch(self)
        _lanes.add(self)

    def _reset(self, calls: Sequence[Call]) -> None:
        self._lock = threading.Lock()
        self._has_turn = threading.Condition(self._lock)
        self._calls = set(calls)  # the calls that are counted in `waiting`: some of their runs have not started
        self._queue = LaneQueue(
            self._lock,
            self.workers,
            merge=self._merge,
            counts_tokens=self._counts_tokens,
            may_overlap=self._may_overlap,
        )
        self._threads: set[threading.Thread] = set()
        self._idle = 0  # threads that wait for a turn
        self._coming = 0  # threads that are told to take a turn and have not taken it yet

    def _after_fork(self) -> None:
        """Restart in a child process: it has no worker, and of the calls only those of the thread that forked."""
        calls = self._calls | {call for turn in self._queue.turns for call, _, _ in turn.runs}
        own = [call for call in calls if call.owner == threading.get_ident() and not call.is_gone]
        self._reset(own)
        for call in own:
            started = [(number, run) for turn in call.turns for each, number, run in turn.runs if each is call]
            call.runs.extendleft(reversed(started))
            call.turns, call.is_queued = [], False
            self._queue.push(call)

    @contextmanager
    def call(self, watch: Watch) -> Iterator[Call]:
        """Admit a call to the lane for the time of this context; at its end, no run of the call is left.

        :param watch: stops the call.
        :raises OverloadedError: if too many calls wait.
        """
        call = Call(self, watch)
        with self._lock:
            if len(self._calls) >= self._max_waiting:
                what = "too many calls wait for the model"
                raise OverloadedError(what, expected=f"fewer than {self._max_waiting}", actual=len(self._calls))
            self._calls.add(call)
        try:
            with watch.listening(call.stop):
                yield call
        finally:
            self.leave(call)

    @property
    def waiting(self) -> int:
        """The number of calls with runs that have not started."""
        return len(self._calls)

    def status(self) -> LaneStatus:
        """Return what the lane did and does. Never waits for a run."""
        with self._lock:
            return LaneStatus(len(self._calls), len(self._queue.turns), self._last_success, self._error)

    def record(self, error: BaseException | None) -> None:
        """Remember whether the model failed, for `status`.

        Errors of the caller, stopped calls and interrupts of the process say nothing of the model.
        """
        if error is None:
            self._error = None
        elif isinstance(error, Exception) and not isinstance(error, (StoppedError, InputError, OverloadedError)):
            self._error = error.code if isinstance(error, OnnxMlBridgeError) else "internal"

    # -- What a call uses

    def add(self, call: Call, runs: Sequence[Run], is_last: bool) -> None:
        """Let runs of a call wait for their turns.

        :param is_last: whether the call has no further runs.
        """
        with self._lock:
            if call.is_gone:
                return
            call.runs.extend((call.number(), run) for run in runs)
            call.may_grow = not is_last
            if call.added is None:
                call.added = time.perf_counter()
            self._settle(call)
            self._queue.push(call)
            # The thread of the call comes to `run_here` next
            self._call_workers(besides=call)

    def run_here(self, call: Call, *, is_told: bool = False) -> None:
        """Run the next run of a call in this thread if no other call is before it and a worker is free.

        :param is_told: whether there is no thread that could run it.
        """
        self.pause_at_exit()
        with self._lock:
            if not self._queue.begins_with(call) or not (is_told or self._runs_here(call)):
                return
            turn = self._begin()
            self._call_workers()
        outcomes = self._execute(turn)
        with self._lock:
            self._end(turn, outcomes)
            self._call_workers(besides=call)
        _deliver(turn, outcomes)
        del outcomes  # the traceback of an error has this frame: together they would be a reference cycle

    def _execute(self, turn: Turn) -> list[Outcome]:
        """Run a turn; for the calls of which it has the first run, record how long they waited for it."""
        now = time.perf_counter()
        for call, number, _ in turn.runs:
            if number == 0 and call.added is not None and self._meter is not None:
                self._meter.waited(now - call.added)
        return turn.execute()

    def pause_at_exit(self) -> None:
        """Let a daemon thread wait for the end of the process, once it has begun, instead of running or failing."""
        if _is_exiting and threading.current_thread().daemon:
            threading.Event().wait()

    def leave(self, call: Call) -> None:
        """Forget the runs of a call that have not started, and terminate a run that no call needs any more."""
        with self._lock:
            call.is_gone, call.may_grow = True, False
            call.runs.clear()
            self._settle(call)
            self._queue.remove(call)
            for turn in call.turns:
                turn.terminate_if_unneeded()
            self._call_workers()  # the next call may need fewer slots

    # -- What requires the lock

    def _settle(self, call: Call) -> None:
        """Count a call no more among the waiting ones if all of its runs have started."""
        if not call.runs and not call.may_grow:
            self._calls.discard(call)

    def _begin(self) -> Turn:
        """Take the next turn from the queue."""
        turn = self._queue.begin()
        for call, _, _ in turn.runs:
            self._settle(call)
        return turn

    def _end(self, turn: Turn, outcomes: Sequence[Outcome]) -> None:
        """End a turn, and remember its outcomes for `status`."""
        self._queue.end(turn)
        for outcome in outcomes:
            self.record(outcome.error)
            if outcome.error is None:
                self._last_success = time.time()

    # -- The workers

    def _call_workers(self, besides: Call | None = None) -> None:
        """Tell as many workers to take a turn as there are runs that may start. Requires the lock.

        :param besides: the call of this thread, which takes its next run itself if it is the first in the queue.
        """
        free, startable = self._queue.free_slots() - self._coming, self._queue.startable()
        if startable and startable[0] is besides and self._runs_here(besides):
            startable, free = startable[1:], free - 1
        for call in startable[self._coming : self._coming + max(0, free)]:
            if not self._call_worker():
                call.wake()

    def _runs_here(self, call: Call) -> bool:
        """Whether the thread of a call runs turns: not if it creates further runs for other threads meanwhile."""
        return self.workers == 1 or not call.may_grow

    def _call_worker(self) -> bool:
        """Tell a thread to take a turn; start it if there is none. False if there can be none."""
        if _is_exiting:
            return False
        if self._idle > self._coming:
            self._has_turn.notify()
        elif len(self._threads) < self.workers:
            thread = threading.Thread(target=self._work, name="onnx-ml-bridge worker", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # the threads of the callers run the turns then
                self._threads.discard(thread)
                return False
        else:
            return True  # all threads are busy or coming, and look at the queue next
        self._coming += 1
        return True

    def _work(self) -> None:
        """Take turns until there was none for a while."""
        turn = self._first_turn()
        while turn or (turn := self._wait_for_turn()):
            outcomes = self._execute(turn)
            with self._lock:
                self._end(turn, outcomes)
                following = self._begin() if self._queue.may_begin() and not _is_exiting else None
                self._call_workers()
            _deliver(turn, outcomes)
            turn = following
            del outcomes  # a worker that waits for a turn keeps no answers

    def _first_turn(self) -> Turn | None:
        with self._lock:
            self._arrive()
            return self._take_turn()

    def _arrive(self) -> None:
        """Stop counting a thread as coming: it was told to take a turn, and is here."""
        self._coming = max(0, self._coming - 1)

    def _take_turn(self) -> Turn | None:
        """Begin the next turn; None if other threads were faster, or there is none."""
        if not self._queue.may_begin() or _is_exiting:
            return None
        turn = self._begin()
        self._call_workers()
        return turn

    def _wait_for_turn(self) -> Turn | None:
        """Wait for a turn; None if the thread has to end."""
        with self._lock:
            # Calls that came while this thread delivered outcomes told no thread, because it looks at the queue here
            while (turn := self._take_turn()) is None and not _is_exiting:
                self._idle += 1
                was_told = self._has_turn.wait(_LINGER_SECONDS) or self._coming > 0
                self._idle -= 1
                if was_told:
                    self._arrive()
                elif not self._queue.may_begin():
                    break
            if turn is None:
                self._threads.discard(threading.current_thread())
            return turn

    def is_running(self) -> bool:
        """Whether a run is in progress, or a thread has not ended yet."""
        return bool(self._queue.turns or self._threads)

    def end_workers(self) -> None:
        """Terminate the runs in progress and tell the threads to end, at the end of the process."""
        with self._lock:
            for call in {call for turn in self._queue.turns for call, _, _ in turn.runs}:
                call.is_gone = True
            for turn in self._queue.turns:
                turn.terminate_if_unneeded()
            self._has_turn.notify_all()


def _deliver(turn: Turn, outcomes: Sequence[Outcome]) -> None:
    for (call, _, _), outcome in zip(turn.runs, outcomes, strict=True):
        call.deliver(outcome)


_lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
_is_exiting = False


@atexit.register
def _end_workers() -> None:
    """End all runs before the interpreter ends: it would stop their threads inside of ONNX Runtime, which aborts.

    The threads that are left at this time are the workers and the daemon threads of the application.
    """
    global _is_exiting
    _is_exiting = True
    for lane in list(_lanes):
        lane.end_workers()
    end = time.monotonic() + _EXIT_SECONDS
    while any(lane.is_running() for lane in list(_lanes)) and time.monotonic() < end:
        time.sleep(0.001)
