"""Counts the loads and unloads of models, for logs and metrics. It records names and numbers, never texts."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from .forking import call_after_fork


class UnloadReason(StrEnum):
    """Why the graphs of a model were freed."""

    IDLE = "idle"  # no call for the model's `idle_unload`
    MEMORY_LIMIT = "memory_mb"  # another model of the bridge needed the memory
    PRESSURE = "pressure"  # the system has little memory left
    CALL = "call"  # the application asked for it


@dataclass(frozen=True)
class LifeCounts:
    """The life of the models with one name and version since the process started.

    `loads` is the number of loads and `load_seconds` their total duration, `unloads` the number of unloads by reason.
    `loaded` is the number of loaded models now, `resident_bytes` their memory.
    """

    loads: int = 0
    load_seconds: float = 0.0
    unloads: dict[UnloadReason, int] = field(default_factory=dict)
    loaded: int = 0
    resident_bytes: int = 0


class _Numbers:
    """The numbers behind `LifeCounts`."""

    def __init__(self) -> None:
        self.loads = 0
        self.load_seconds = 0.0
        self.unloads: Counter[UnloadReason] = Counter()
        self.loaded = 0
        self.resident_bytes = 0


class _Meter:
    """The numbers of all models of the process, by name and version."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.numbers: dict[tuple[str, str], _Numbers] = {}
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Start again from 0: a child process has loaded no graph."""
        self.lock = threading.RLock()
        self.numbers = {}

    def of(self, model: str, version: str) -> _Numbers:
        return self.numbers.setdefault((model, version), _Numbers())


_METER = _Meter()


def loaded(model: str, version: str, seconds: float, resident_bytes: int) -> None:
    """Count a load that took this time; the model takes this memory."""
    with _METER.lock:
        numbers = _METER.of(model, version)
        numbers.loads += 1
        numbers.load_seconds += seconds
        numbers.loaded += 1
        numbers.resident_bytes += resident_bytes


def freed(model: str, version: str, resident_bytes: int, reason: UnloadReason | None = None) -> None:
    """Count that the memory of a loaded model was freed: by an unload with a reason, or with the model itself."""
    with _METER.lock:
        numbers = _METER.of(model, version)
        numbers.loaded -= 1
        numbers.resident_bytes -= resident_bytes
        if reason is not None:
            numbers.unloads[reason] += 1


def life_counts() -> dict[tuple[str, str], LifeCounts]:
    """Return the counts of all models that were loaded in this process, by name and version."""
    with _METER.lock:
        return {
            key: LifeCounts(each.loads, each.load_seconds, dict(each.unloads), each.loaded, each.resident_bytes)
            for key, each in _METER.numbers.items()
        }
