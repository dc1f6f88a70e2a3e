"""The thread that unloads models that had no call for a while, and idle models when memory is scarce.

It also notes from time to time that the files of loaded models are in use.

A process has one such thread, and only while a model is loaded.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from . import memory
from .forking import call_after_fork
from .meter import UnloadReason

logger = logging.getLogger(__name__)
# How often the thread looks at the memory of the system, in seconds.
_INTERVAL = 5.0
# How often the thread notes that the files of the models are in use, in seconds. A cache keeps them for a day.
_NOTE_INTERVAL = 3600.0
# The shortest time between two looks at the models, in seconds.
_SHORTEST = 0.02


class Unloadable(Protocol):
    """A model that can be unloaded."""

    @property
    def is_loaded(self) -> bool:
        """Whether the model is loaded."""

    @property
    def last_use(self) -> float:
        """The time at which the last call started or ended, on the monotonic clock."""

    @property
    def idle_unload(self) -> float | None:
        """The seconds without a call after which the model is unloaded; None means never."""

    def note_use(self) -> None:
        """Note that the files of the model are in use."""

    def unload(self, reason: UnloadReason, unused_since: float | None = None) -> bool:
        """Unload the model if no call uses it, and if it has had no call since the given time."""


class _Housekeeper:
    """The state of the thread."""

    def __init__(self) -> None:
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Start without a thread and models: a child process has neither the thread nor a loaded model."""
        self._models: weakref.WeakSet[Unloadable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def watch(self, model: Unloadable) -> None:
        with self._changed:
            self._models.add(model)
            self._changed.notify()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="onnx-ml-bridge-housekeeping", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("no model is unloaded by itself: %s", error)
        else:
            self._thread = thread

    def _run(self) -> None:
        looked = noted = time.monotonic()
        while models := self._loaded():
            now = time.monotonic()
            unload_idle(models, now)
            if now - looked >= _INTERVAL:
                looked = now
                relieve(models, memory.is_scarce)
            if now - noted >= _NOTE_INTERVAL:
                noted = now
                note_uses(models)
            del models  # the thread keeps no model that the application has dropped
            with self._changed:
                # Includes the models that were loaded since the look: nothing waited for their notification
                pause = min(pause_before_next_look(self._models), looked + _INTERVAL - time.monotonic())
                self._changed.wait(max(_SHORTEST, pause))

    def _loaded(self) -> list[Unloadable]:
        """Return the loaded models; without any, the thread ends."""
        with self._changed:
            models = [model for model in self._models if model.is_loaded]
            self._models = weakref.WeakSet(models)
            if not models:
                self._thread = None
            return models


_HOUSEKEEPER = _Housekeeper()


def watch(model: Unloadable) -> None:
    """Unload a model that was loaded when it is idle for its time, or when memory is scarce."""
    _HOUSEKEEPER.watch(model)


def unload_idle(models: Iterable[Unloadable], now: float) -> None:
    """Unload the models whose `idle_unload` has passed."""
    for model in models:
        if model.idle_unload is not None:
            model.unload(UnloadReason.IDLE, unused_since=now - model.idle_unload)


def relieve(models: Iterable[Unloadable], is_scarce: Callable[[], bool]) -> None:
    """Unload models while memory is scarce, the one whose last call ended first before the others."""
    for model in sorted(models, key=lambda model: model.last_use):
        if not is_scarce():
            return
        model.unload(UnloadReason.PRESSURE)


def note_uses(models: Iterable[Unloadable]) -> None:
    """Note that the files of the models are in use: a model that was loaded days ago may have to be loaded again."""
    for model in models:
        model.note_use()


def pause_before_next_look(models: Iterable[Unloadable]) -> float:
    """Return the seconds until a model may have been idle for its time."""
    now = time.monotonic()
    pauses = [
        # A model that is in use is idle for its time at the earliest when this time has passed again
        model.idle_unload if model.last_use + model.idle_unload <= now else model.last_use + model.idle_unload - now
        for model in models
        if model.idle_unload is not None
    ]
    return min(pauses, default=_INTERVAL)
