"""The memory limit that the models of a bridge share."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from ..artifacts.errors import ConfigError
from .cancellation import Watch
from .forking import call_after_fork
from .life import LIFE
from .meter import UnloadReason

logger = logging.getLogger(__name__)
_MEBIBYTE = 1 << 20


class Member(Protocol):
    """A model that shares the limit; the attributes are read and set under the lock of `LIFE`."""

    name: str
    graph_bytes: int
    last_use: float
    has_room: bool
    is_leaving: bool
    is_urgent: bool

    @property
    def needed(self) -> int:
        """The memory that the model takes when it is loaded, in bytes."""

    @property
    def has_memory(self) -> bool:
        """Whether the model takes memory, or is about to."""

    @property
    def is_loaded(self) -> bool:
        """Whether the model is loaded."""

    @property
    def is_idle(self) -> bool:
        """Whether the model is loaded and no call uses it."""

    def unload(self, reason: UnloadReason) -> bool:
        """Unload the model if no call uses it."""


class Budget:
    """A memory limit. Loads that need memory of other models take turns in the order in which they ask."""

    def __init__(self, mebibytes: int | None = None) -> None:
        """Create a limit in MiB; None is no limit."""
        self._limit = None if mebibytes is None else mebibytes * _MEBIBYTE
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._queue: deque[Member] = deque()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Forget the loads that waited in other threads."""
        self._queue = deque()

    def make_room(self, model: Member, watch: Watch | None) -> None:
        """Unload other models until a model can be loaded within the limit; it has room then.

        Idle models are unloaded first, the one whose last call ended first before the others. If that is not enough,
        models in use leave: they end their running calls, are unloaded, and their next calls wait for room again. The
        load of a call within a call to another of the models does not wait, because the outer call would not end; nor
        does one that is urgent because such a call waits for it.

        :raises ConfigError: if the files of the model alone exceed the limit.
        :raises StoppedError: if the watch stopped the call.
        """
        if self._limit is None:
            return
        if model.graph_bytes > self._limit:
            needed = -(-model.graph_bytes // _MEBIBYTE)
            raise ConfigError(
                "memory_mb", expected=f"at least {needed} for {model.name}", actual=self._limit // _MEBIBYTE
            )
        with LIFE.changed:
            self._members.add(model)
            self._queue.append(model)
        try:
            while idle := self._next_to_unload(model, watch):
                for other in idle:
                    other.unload(UnloadReason.MEMORY_LIMIT)
        finally:
            with LIFE.changed:
                self._queue.remove(model)
                if not model.has_room:  # the load was stopped; the next one chooses again which models leave
                    for other in self._members:
                        other.is_leaving = False
                LIFE.changed.notify_all()

    def has_call_of_thread(self) -> bool:
        """Return whether a model that shares the limit has a call that runs in this thread."""
        return any(outer in self._members for outer in LIFE.calls_of_thread())

    def keep_limit(self, model: Member) -> None:
        """Unload other models if a model takes more memory than was expected before it was loaded."""
        if self._limit is None:
            return
        with LIFE.changed:
            others, excess = self._others(model)
            idle = _candidates(others, excess)
        for other in idle:
            other.unload(UnloadReason.MEMORY_LIMIT)

    def _next_to_unload(self, model: Member, watch: Watch | None) -> list[Member]:
        """Wait until the model has room or others can be unloaded for it; return the others, or none."""
        with LIFE.changed:
            while True:
                if self._queue[0] is model:
                    others, excess = self._others(model)
                    if excess <= 0 or not others:
                        if excess > 0:
                            logger.warning("%s may exceed memory_mb by %d bytes", model.name, excess)
                        break
                    if idle := _candidates(others, excess):
                        return idle
                if model.is_urgent or self.has_call_of_thread():
                    logger.warning("%s exceeds memory_mb: it is called within a call of another model", model.name)
                    break
                LIFE.wait(watch)
            model.has_room = True
            return []

    def _others(self, model: Member) -> tuple[list[Member], int]:
        """Return the other models that take memory, and by how many bytes the limit would be exceeded with all."""
        others = [each for each in self._members if each is not model and each.has_memory]
        assert self._limit is not None
        return others, sum(each.needed for each in others) + model.needed - self._limit


def _candidates(others: Iterable[Member], excess: int) -> list[Member]:
    """Return idle models to unload; if they are not enough, let models in use leave."""
    idle = []
    for each in sorted(others, key=lambda each: (not each.is_idle, not each.is_leaving, each.last_use)):
        if excess <= 0:
            break
        if each.is_idle:
            idle.append(each)
        elif each.is_loaded:
            each.is_leaving = True
        excess -= each.needed
    return idle
