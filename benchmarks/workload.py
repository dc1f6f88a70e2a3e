"""Workloads: the metrics, the ways of calling a model, the contenders and the texts of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Contender, Releases
from .targets import Ratio

SPEED, FOOTPRINT = "speed", "footprint"


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    `unit` is a key of `formats.FORMATS`. `section` is the table that has the column. `higher_is_better` is None if
    neither direction is better. `plotted` metrics are panels of the plot.
    """

    key: str
    title: str
    unit: str
    section: str = SPEED
    higher_is_better: bool | None = None
    plotted: bool = False


LOAD = Metric("load", "load", "seconds", FOOTPRINT, False)
COLD_START = Metric("cold_start", "cold start", "seconds", FOOTPRINT, False, plotted=True)
PEAK_FIRST = Metric("peak_first", "peak memory, first answer", "bytes", FOOTPRINT, False)
PEAK_LARGE = Metric("peak_large", "peak memory, large input", "bytes", FOOTPRINT, False, plotted=True)
DISK = Metric("disk", "model on disk", "bytes", FOOTPRINT, False, plotted=True)


@dataclass(frozen=True)
class Setting:
    """One way of calling a model.

    `files` are JSON lines with the texts of the warm-up and of every round. `units` has, for each of these files, the
    number of units that the metric counts: texts or words for a rate, calls for a duration. `batch` is the number of
    texts in one call, None for all texts.
    """

    metric: Metric
    files: tuple[Path, ...]
    units: tuple[int, ...]
    batch: int | None = None
    cpu_metric: Metric | None = None

    def value(self, round_number: int, seconds: float) -> float:
        """Return the metric's value: units per second for a rate, seconds per unit for a duration."""
        units = self.units[round_number]
        return units / seconds if self.metric.unit == "rate" else seconds / units


# `Answers` are the answers of a contender as JSON objects in the order of the texts. A `Quality` function compares the
# answers of a contender with those of its reference (None if it has no reference) and returns values by metric.
Answers = Sequence[Mapping[str, Any]]
Quality = Callable[[Answers, Answers | None], dict[str, float]]
# A `Derive` function computes additional figures of a contender from the medians of its metrics. Its argument and its
# result map the names of metrics to values.
Derive = Callable[[Contender, Mapping[str, float]], dict[str, float]]


@dataclass(frozen=True)
class Workload:
    """One comparison: contenders that process the same texts.

    `first` is a file with one text, for the cold start. `large` is a file whose texts are passed in one call, for the
    peak memory. `outputs` is the metric that counts outputs, such as entities, which shows whether the contenders do
    the same work. `note` has the key of a metric, whose value the plot writes below each contender's name, and the text
    before this value.
    """

    title: str
    original: str
    artifacts: dict[str, str]
    facts: dict[str, str | int | float]
    contenders: tuple[Contender, ...]
    settings: tuple[Setting, ...]
    first: Path
    large: Path | None
    metrics: tuple[Metric, ...]
    ratios: tuple[Ratio, ...] = ()
    outputs: Metric | None = None
    quality: Quality | None = None
    quality_texts: Path | None = None
    derive: Derive | None = None
    note: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        """Check that the names of the contenders are unique."""
        names = [contender.name for contender in self.contenders]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several contenders are named {', '.join(repeated)}")


@dataclass(frozen=True)
class Request:
    """The options of the command line for a task.

    `artifacts` are folders. `originals` maps the names of artifacts to the sources of their originals. `peers` is true
    if the originals and other libraries are measured too. `texts` is the number of texts, None for the default of the
    task. `options` are the task's own options. `scratch` is an empty folder.
    """

    artifacts: tuple[Path, ...]
    scratch: Path
    rounds: int
    originals: Mapping[str, str] = field(default_factory=dict)
    releases: Releases = field(default_factory=Releases)
    peers: bool = True
    texts: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
