"""Which models are loaded: a model is loaded once, by its first call, and never unloaded under a running call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ..artifacts.errors import OnnxMlBridgeError, StoppedError
from . import housekeeping, memory
from .budget import Budget
from .cancellation import Watch
from .forking import call_after_fork
from .life import LIFE
from .meter import Meter, UnloadReason

logger = logging.getLogger(__name__)
# A model with small files may take this memory beyond four times their size.
_SLACK = 64 << 20
# The factor by which a model is larger in memory than its files, until it has been measured.
_GROWTH = 1.2


class LoadState(StrEnum):
    """Whether the graphs of a model are loaded."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


class Loadable(Protocol):
    """A model whose graphs can be loaded and freed."""

    def load(self) -> None:
        """Load the graphs."""

    def unload(self) -> None:
        """Free the graphs."""


@runtime_checkable
class LoadableElsewhere(Loadable, Protocol):
    """A model that another process loads.

    `counts_loads` tells whether the metrics count its loads: those of a process that this one starts. A server that
    is there is not loaded, and a chain leaves that to its members.
    """

    counts_loads: bool

    def load_within(self, watch: Watch | None) -> None:
        """Load the model; the watch can end the wait for it."""

    def cancel_load(self) -> None:
        """End a load that goes on after a call was stopped, if no call uses the model."""

    def resident_bytes(self) -> int:
        """Return the memory in bytes that the model takes on this machine, outside of this process."""


@dataclass(frozen=True)
class Conditions:
    """What applies to the loads of one model.

    `prepare` is called before and after a load and raises an error if the model cannot be loaded any more. `note_use`
    is called before a load, and every hour while the model is loaded. `graph_bytes` is the size of the files that a
    load reads. `idle_unload` is that of the model, `budget` the memory limit that it shares with other models.
    """

    prepare: Callable[[], None] = lambda: None
    graph_bytes: int = 0
    idle_unload: float | None = None
    budget: Budget = field(default_factory=Budget)
    note_use: Callable[[], None] = lambda: None


class Resident:
    """The graphs of one opened artifact: loaded or not, and the calls that use them. Thread-safe."""

    def __init__(self, graphs: Loadable, name: str, version: str, conditions: Conditions | None = None) -> None:
        """Wrap graphs that are not loaded.

        :param name: the name of the model in metrics; `version` likewise.
        """
        self.name = name
        self.last_use = time.monotonic()
        self.size = 0
        self.meter = Meter(name, version)
        self._graphs = graphs
        self._conditions = conditions or Conditions()
        self.graph_bytes = self._conditions.graph_bytes
        self.idle_unload = self._conditions.idle_unload
        self.is_retired = False
        self._failures = 0
        self.failure: BaseException | None = None
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Start without loaded graphs, and without the calls of other threads."""
        self.state = LoadState.UNLOADED
        self.has_room = False
        self.is_leaving = False
        self.is_urgent = False
        self._is_due = False
        self._calls: set[object] = set()

    def __del__(self) -> None:
        """Count the memory of loaded graphs as freed."""
        if getattr(self, "state", None) is LoadState.READY:
            self._count_freed()

    @property
    def _counts_loads(self) -> bool:
        return not isinstance(self._graphs, LoadableElsewhere) or self._graphs.counts_loads

    def _count_freed(self, reason: UnloadReason | None = None) -> None:
        if self._counts_loads:
            self.meter.freed(self.size, reason)

    @property
    def is_loaded(self) -> bool:
        """Whether the graphs are loaded."""
        return self.state is LoadState.READY

    @property
    def is_idle(self) -> bool:
        """Whether the graphs are loaded and no call uses them."""
        return self.state is LoadState.READY and not self._calls

    @property
    def has_memory(self) -> bool:
        """Whether the graphs take memory, or are about to."""
        return self.state in (LoadState.READY, LoadState.UNLOADING) or self.has_room

    @property
    def needed(self) -> int:
        """The memory of the loaded graphs in bytes: measured, or estimated before the first load."""
        return self.size or int(self.graph_bytes * _GROWTH)

    def enter(self, watch: Watch | None = None) -> object | None:
        """Start a call. The first of several concurrent calls loads the graphs; the others wait for it.

        :param watch: can stop the call while it waits.
        :returns: the call, to be passed to `leave`; None if the model was retired.
        :raises OnnxMlBridgeError: if the graphs cannot be loaded; if a load fails, so do the calls that wait for it.
        """
        with LIFE.changed:
            failures = self._failures
            is_within = self._conditions.budget.has_call_of_thread()
            while not self.is_retired:
                if self.is_loaded and (is_within or not self.is_leaving):
                    return self._start()
                if self.state is LoadState.UNLOADED:
                    if self._failures > failures and isinstance(self.failure, OnnxMlBridgeError):
                        raise self.failure
                    self.state = LoadState.LOADING
                    break
                self.is_urgent = self.is_urgent or is_within
                LIFE.wait(watch)
            else:
                return None
        return self._load_and_start(watch)

    def leave(self, call: object) -> None:
        """End a call."""
        with LIFE.changed:
            self._calls.discard(call)
            LIFE.calls_of_thread().remove(self)
            self.last_use = time.monotonic()
            LIFE.changed.notify_all()
            reason = self._reason_to_unload()
            if reason is None or not self.is_idle:
                return
            self.state = LoadState.UNLOADING
        self._free(reason)

    def load(self) -> None:
        """Load the graphs now."""
        self._is_due = False
        if (call := self.enter()) is not None:
            self.leave(call)

    def unload(self, reason: UnloadReason, unused_since: float | None = None) -> bool:
        """Free the graphs if no call uses them.

        :param unused_since: free them only if the last call ended before this time, on the monotonic clock.
        :returns: whether the graphs were freed.
        """
        with LIFE.changed:
            if not self.is_idle or (unused_since is not None and self.last_use > unused_since):
                return False
            self.state = LoadState.UNLOADING
        self._free(reason)
        return True

    def note_use(self) -> None:
        """Note that the files of the model are in use, so that no cache removes them."""
        self._conditions.note_use()

    def unload_when_idle(self) -> None:
        """Free the graphs as soon as no call uses them."""
        with LIFE.changed:
            self._is_due = bool(self._calls) or self.state is LoadState.LOADING
            is_unloaded = self.state is LoadState.UNLOADED
        self.unload(UnloadReason.CALL)
        if is_unloaded and isinstance(self._graphs, LoadableElsewhere):
            self._graphs.cancel_load()

    def retire(self) -> None:
        """Refuse new calls; the graphs are freed as soon as the running calls have ended."""
        with LIFE.changed:
            self.is_retired = True
            LIFE.changed.notify_all()
        self.unload(UnloadReason.CALL)

    def wait_for_calls(self) -> None:
        """Wait until all calls have ended and the graphs of a retired model are freed.

        Calls of this thread, such as one whose progress function closes the model, are not waited for.
        """
        with LIFE.changed:
            while len(self._calls) > LIFE.calls_of_thread().count(self) or self.state in (
                LoadState.LOADING,
                LoadState.UNLOADING,
            ):
                LIFE.wait(None)

    def _start(self) -> object:
        call = object()
        self._calls.add(call)
        LIFE.calls_of_thread().append(self)
        self.last_use = time.monotonic()
        return call

    def _reason_to_unload(self) -> UnloadReason | None:
        if self.is_leaving:
            return UnloadReason.MEMORY_LIMIT
        return UnloadReason.CALL if self._is_due or self.is_retired else None

    def _load_and_start(self, watch: Watch | None) -> object | None:
        try:
            seconds, size = self._load(watch)
        except BaseException as error:
            if self._failed(error):
                return None
            raise
        with LIFE.changed:
            self.size, self.state, self.failure = size, LoadState.READY, None
            self.has_room = self.is_urgent = False
            if self._counts_loads:
                self.meter.loaded(seconds, size)
            LIFE.changed.notify_all()
            call = self._start()
        logger.info("%s: loaded in %.2f s, %d MiB", self.name, seconds, size >> 20)
        housekeeping.watch(self)
        self._conditions.budget.keep_limit(self)
        return call

    def _failed(self, error: BaseException) -> bool:
        """Record an error of a load; return whether it is of no interest, because the model was retired meanwhile."""
        with LIFE.changed:
            self.state = LoadState.UNLOADED
            self.has_room = self.is_urgent = self._is_due = False
            LIFE.changed.notify_all()
            if isinstance(error, StoppedError):
                return False
            self._failures += 1
            self.failure = error
            return self.is_retired and isinstance(error, OnnxMlBridgeError)

    def _load(self, watch: Watch | None) -> tuple[float, int]:
        """Load the graphs; return the time that it took in seconds, and the memory that they take."""
        self.note_use()
        self._conditions.prepare()
        self._conditions.budget.make_room(self, watch)
        memory.limit_fragmentation()
        before, started = memory.process_bytes(), time.monotonic()
        if isinstance(self._graphs, LoadableElsewhere):
            self._graphs.load_within(watch)
        else:
            self._graphs.load()
        seconds = time.monotonic() - started
        memory.return_free_memory()  # a load frees up to 10 MB, which the C library keeps otherwise
        try:
            self._conditions.prepare()  # the files that were loaded may not be those that were checked before
        except OnnxMlBridgeError:
            self._graphs.unload()
            raise
        return seconds, self._plausible_size(before)

    def _plausible_size(self, before: int | None) -> int:
        """Return the memory of the graphs, given that of the process before the load.

        A process grows by less than the graphs take if it uses memory again that it had freed, and by more if other
        threads work meanwhile.
        """
        if isinstance(self._graphs, LoadableElsewhere):
            return self._graphs.resident_bytes()
        after = memory.process_bytes()
        grown = 0 if before is None or after is None else after - before
        return max(min(grown, 4 * self.graph_bytes + _SLACK), self.graph_bytes, self.size)

    def _free(self, reason: UnloadReason) -> None:
        """Free the graphs; the state is already `UNLOADING`."""
        try:
            self._graphs.unload()
            memory.return_free_memory()
        finally:
            with LIFE.changed:
                self.state, self.is_leaving, self._is_due = LoadState.UNLOADED, False, False
                self._count_freed(reason)
                LIFE.changed.notify_all()
        logger.info("%s: unloaded (%s)", self.name, reason)
