"""What a run measured, as typed values that go to a JSON file and come back from it."""

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
    """One quantity: a value for every round, or a single one."""

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
    """A contender's figures by metric; `missing` says why others were not measured. See `Contender` for the names."""

    name: str
    reference: str
    figures: dict[str, Figure]
    missing: dict[str, str]

    def medians(self) -> dict[str, float]:
        """Return the median of every figure."""
        return {metric: figure.median for metric, figure in self.figures.items()}


@dataclass(frozen=True)
class PairedRow:
    """An earlier release against this one: for each metric one ratio a round, above 1 where this one is better."""

    label: str
    release: str
    ratios: dict[str, Figure]
    verdicts: dict[str, str]


@dataclass(frozen=True)
class WorkloadResults:
    """One comparison; see `Workload`."""

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
        """Return a contender's row, None for a name that is not part of the run."""
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class Conditions:
    """Everything that decides what the figures are worth.

    `other_load` is the mean share of all CPUs that other programs used while every contender was idle; `busy_starts`
    counts measurements that began although a worker without work still used CPU.
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
    """A whole run of one task."""

    task: str
    title: str
    conditions: Conditions
    workloads: tuple[WorkloadResults, ...]


def save(results: Results, path: Path) -> None:
    """Write the results as JSON."""
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `save` wrote."""
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
