"""The results of a run, which are saved to and loaded from a JSON file."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .targets import Target
from .workload import Metric


@dataclass(frozen=True)
class Figure:
    """The values of one metric (one value per round, or a single value) with their median, minimum and maximum."""

    values: tuple[float, ...]
    median: float = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        """Compute the median and the range."""
        object.__setattr__(self, "median", statistics.median(self.values))
        object.__setattr__(self, "low", min(self.values))
        object.__setattr__(self, "high", max(self.values))


@dataclass(frozen=True)
class Row:
    """The figures of a contender by metric; `missing` has the reasons for missing figures. See `Contender`."""

    name: str
    reference: str
    figures: dict[str, Figure]
    missing: dict[str, str]

    def medians(self) -> dict[str, float]:
        """Return the median of every figure."""
        return {metric: figure.median for metric, figure in self.figures.items()}


@dataclass(frozen=True)
class PairedRow:
    """The comparison of a contender of this release with the same contender of an earlier release.

    `ratios` has, for each metric, one ratio per round, which is above 1 if this release is better.
    """

    label: str
    release: str
    ratios: dict[str, Figure]
    verdicts: dict[str, str]


@dataclass(frozen=True)
class WorkloadResults:
    """The results of one `Workload`."""

    title: str
    original: str
    artifacts: dict[str, str]
    facts: dict[str, str | int | float]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]
    pairs: tuple[PairedRow, ...]
    note: tuple[str, str] = ("", "")

    def row(self, name: str) -> Row | None:
        """Return the row of a contender; None if the run has no contender with this name."""
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class Conditions:
    """The conditions under which the figures were measured.

    `other_load` is the mean share of all CPUs that other programs used while all contenders were idle. `busy_starts`
    counts the measurements that began while another contender still used the CPU.
    """

    date: str
    cpu: str
    instruction_set: tuple[str, ...]
    exact_int8: bool
    cpus: int
    versions: dict[str, str]
    rounds: int
    fresh_rounds: int
    other_load: float
    busy_starts: int


@dataclass(frozen=True)
class Results:
    """The results of a run of one task."""

    task: str
    title: str
    conditions: Conditions
    workloads: tuple[WorkloadResults, ...]


def save(results: Results, path: Path) -> None:
    """Write the results as JSON."""
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read results that `save` has written."""
    record = json.loads(path.read_text(encoding="utf-8"))
    conditions = {**record["conditions"], "instruction_set": tuple(record["conditions"]["instruction_set"])}
    workloads = tuple(map(_workload, record["workloads"]))
    return Results(record["task"], record["title"], Conditions(**conditions), workloads)


def _workload(record: Mapping[str, Any]) -> WorkloadResults:
    typed = {
        "metrics": tuple(Metric(**metric) for metric in record["metrics"]),
        "rows": tuple(Row(**{**row, "figures": _figures(row["figures"])}) for row in record["rows"]),
        "targets": tuple(Target(**target) for target in record["targets"]),
        "pairs": tuple(PairedRow(**{**pair, "ratios": _figures(pair["ratios"])}) for pair in record["pairs"]),
        "note": tuple(record["note"]),
    }
    return WorkloadResults(**{**record, **typed})


def _figures(record: Mapping[str, Any]) -> dict[str, Figure]:
    return {metric: Figure(tuple(figure["values"])) for metric, figure in record.items()}
