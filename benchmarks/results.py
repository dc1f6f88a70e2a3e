"""What a run found, as typed values that go to results.json."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

BATCHES = {"batch_1": 1, "batch_8": 8, "batch_32": 32}
BULK = "bulk"
COLD = "cold_start"
PEAK_FIRST = "peak_first"
PEAK_BULK = "peak_bulk"
PEAK_LONG = "peak_long"
WORDS = "words_per_second"
WORDS_CPU = "words_per_cpu_second"


@dataclass(frozen=True)
class Figure:
    """One quantity, measured once in every round."""

    values: tuple[float, ...]
    median: float = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        """Derive the median and the range."""
        object.__setattr__(self, "median", statistics.median(self.values))
        object.__setattr__(self, "low", min(self.values))
        object.__setattr__(self, "high", max(self.values))


@dataclass(frozen=True)
class Row:
    """One contender's figures by name: texts/s at `batch_*` and `bulk`, seconds at `cold_start`, bytes at `peak_*`.

    `missing` says of whatever was not measured why; cosines are to the vectors of the original.
    """

    name: str
    disk_bytes: int
    figures: dict[str, Figure]
    missing: dict[str, str]
    cosine_min: float | None
    cosine_mean: float | None

    def median(self, figure: str) -> float | None:
        """The median of a figure, None where it was not measured."""
        return self.figures[figure].median if figure in self.figures else None


@dataclass(frozen=True)
class Conditions:
    """Everything that decides what the figures are worth.

    `other_load` is the mean share of all CPUs that other programs used while every contender was idle; `busy_workers`
    counts measurements that began although a worker that had nothing to do still used CPU.
    """

    date: str
    cpu: str
    instruction_set: tuple[str, ...]
    exact_int8: bool
    threads: int
    versions: dict[str, str]
    artifact: str
    artifact_sha256: str
    source: str
    texts: int
    texts_sha256: str
    tokens_mean: float
    tokens_min: int
    tokens_max: int
    rounds: int
    other_load: float
    busy_workers: int


@dataclass(frozen=True)
class Target:
    """One acceptance ratio: `value` is `left` over `right`, medians of `figure`; `at_least` is the target, if any."""

    name: str
    left: float | None
    right: float | None
    figure: str
    value: float | None
    minimum: float | None
    verdict: str


@dataclass(frozen=True)
class Results:
    """A whole run."""

    conditions: Conditions
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]

    def row(self, name: str) -> Row | None:
        """A contender's row, None where it is not part of the run."""
        return next((row for row in self.rows if row.name == name), None)
