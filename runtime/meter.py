"""Counts and measures the calls, runs and loads of models, for logs and metrics.

It records names and numbers, never texts. docs/metrics.md defines what each number means, for Rust too; `metrics` turns
the numbers into metrics of Prometheus.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from .forking import call_after_fork

# The upper bounds of the buckets of histograms: 1 ms to 5 minutes, and 1 to 65,536 tokens
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKENS = tuple(float(1 << power) for power in range(17))


class UnloadReason(StrEnum):
    """Why the graphs of a model were freed."""

    IDLE = "idle"  # no call for the model's `idle_unload`
    MEMORY_LIMIT = "memory_mb"  # another model of the bridge needed the memory
    PRESSURE = "pressure"  # the system has little memory left
    CALL = "call"  # the application asked for it


class HasWaiting(Protocol):
    """A lane."""

    @property
    def waiting(self) -> int:
        """The number of calls with runs that have not started."""


class Histogram:
    """How many values are in each bucket, and their sum. A value that equals a bound is in the bucket below it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Create a histogram without values; the last bucket has no bound."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def copy(self) -> Histogram:
        """Return a copy."""
        copy = Histogram(self.bounds)
        copy.counts, copy.sum = list(self.counts), self.sum
        return copy


def _seconds() -> Histogram:
    return Histogram(SECONDS)


@dataclass
class Numbers:
    """The numbers of the models with one name and version since the process started; `waiting` is that of now."""

    requests: int = 0
    items: int = 0
    tokens: int = 0
    runs: int = 0
    dropped_entities: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    unloads: Counter[UnloadReason] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    request_seconds: Histogram = field(default_factory=_seconds)
    queue_seconds: Histogram = field(default_factory=_seconds)
    run_seconds: Histogram = field(default_factory=_seconds)
    run_tokens: Histogram = field(default_factory=lambda: Histogram(TOKENS))
    load_seconds: Histogram = field(default_factory=_seconds)
    waiting: int = 0
    loaded: int = 0
    resident_bytes: int = 0

    def copy(self) -> Numbers:
        """Return a copy that later values do not change."""
        copies = {name: value.copy() for name, value in vars(self).items() if not isinstance(value, int)}
        return replace(self, **copies)


class _Registry:
    """The numbers and the lanes of all models of the process, by name and version."""

    def __init__(self) -> None:
        self.numbers: dict[Meter, Numbers] = {}
        self.lanes: dict[Meter, weakref.WeakSet[HasWaiting]] = {}
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Start again from 0: a child process has loaded no graph and answered no call."""
        # A model that the garbage collector frees, possibly while the lock is held, is counted too
        self.lock = threading.RLock()
        self.numbers = {}

    def of(self, meter: Meter) -> Numbers:
        if (numbers := self.numbers.get(meter)) is None:
            numbers = self.numbers[meter] = Numbers()
        return numbers


@dataclass(frozen=True)
class Meter:
    """Records what models with one name and version do. Thread-safe."""

    model: str
    version: str

    def request(self, items: int, tokens: int, seconds: float) -> None:
        """Count a call that was answered: its texts, their tokens, and its duration."""
        with _REGISTRY.lock:
            numbers = _REGISTRY.of(self)
            numbers.requests += 1
            numbers.items += items
            numbers.tokens += tokens
            numbers.request_seconds.add(seconds)

    def errors(self, code: str, count: int = 1) -> None:
        """Count texts or whole calls that failed, by the code of the error."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).errors[code] += count

    def waited(self, seconds: float) -> None:
        """Record how long a call waited in the queue until its first run started."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).queue_seconds.add(seconds)

    def run(self, tokens: int) -> None:
        """Count a run of a graph that starts; `tokens` is its size, padding included."""
        with _REGISTRY.lock:
            numbers = _REGISTRY.of(self)
            numbers.runs += 1
            numbers.run_tokens.add(tokens)

    def sent(self) -> None:
        """Count a request that is sent to a server, whose tokens are not known, as a run."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).runs += 1

    def retried(self, code: str) -> None:
        """Count a request that is sent again, by the code of the attempt that failed."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).retries[code] += 1

    def fell_back(self, code: str) -> None:
        """Count a text that a chain gives to its next member, by the code of this one's error."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).fallbacks[code] += 1

    def dropped(self, entities: int) -> None:
        """Count entities of a language model that are not in the text."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).dropped_entities += entities

    def run_ended(self, seconds: float) -> None:
        """Record how long a run of a graph took, also one that failed."""
        with _REGISTRY.lock:
            _REGISTRY.of(self).run_seconds.add(seconds)

    def loaded(self, seconds: float, resident_bytes: int) -> None:
        """Count a load that took this time; the model takes this memory."""
        with _REGISTRY.lock:
            numbers = _REGISTRY.of(self)
            numbers.load_seconds.add(seconds)
            numbers.loaded += 1
            numbers.resident_bytes += resident_bytes

    def freed(self, resident_bytes: int, reason: UnloadReason | None = None) -> None:
        """Count that the memory of a loaded model was freed: by an unload with a reason, or with the model itself."""
        with _REGISTRY.lock:
            numbers = _REGISTRY.of(self)
            numbers.loaded -= 1
            numbers.resident_bytes -= resident_bytes
            if reason is not None:
                numbers.unloads[reason] += 1

    def watch(self, lane: HasWaiting) -> None:
        """Count the calls that wait in a lane among those of the model, as long as the lane exists."""
        with _REGISTRY.lock:
            _REGISTRY.lanes.setdefault(self, weakref.WeakSet()).add(lane)


_REGISTRY = _Registry()


def all_numbers() -> dict[Meter, Numbers]:
    """Return the numbers of all models that did something in this process."""
    with _REGISTRY.lock:
        found = {meter: numbers.copy() for meter, numbers in _REGISTRY.numbers.items()}
        lanes = {meter: list(lanes) for meter, lanes in _REGISTRY.lanes.items()}
    for meter, numbers in found.items():
        numbers.waiting = sum(lane.waiting for lane in lanes.get(meter, ()))
    return found
