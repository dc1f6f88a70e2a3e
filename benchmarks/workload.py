"""What is measured: the figures of a task, the ways of calling a model, and the texts."""

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

    `unit` is a key of `formats.FORMATS`; `section` is the table it belongs to; `higher_is_better` is None where neither
    is; `plotted` metrics are panels of the plot.
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

    `files` are texts as JSON lines: the warm-up's, then every round's. `units` says what the metric counts in each of
    them: texts or words for a rate, calls for a duration. `batch` texts go into one call, None for all of them.
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


# The answers of a contender as JSON objects in the order of the texts, and those of its reference, None where it has
# none; the result is by metric.
Answers = Sequence[Mapping[str, Any]]
Quality = Callable[[Answers, Answers | None], dict[str, float]]
# A contender's medians by metric; the result is more figures by metric.
Derive = Callable[[Contender, Mapping[str, float]], dict[str, float]]


@dataclass(frozen=True)
class Workload:
    """One comparison: contenders that do the same work on the same texts.

    `first` is a file with one text, for the cold start; `large` is one whose texts go into one call, for the peak of
    memory. `outputs` is the metric that counts what the answers hold, so that a reader sees whether the contenders did
    the same work. `note` is the metric that the plot writes below a contender's name, with its text before the value.
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
        """Names identify contenders."""
        names = [contender.name for contender in self.contenders]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several contenders are named {', '.join(repeated)}")


@dataclass(frozen=True)
class Request:
    """What the command line asks a task for.

    `artifacts` are folders; `originals` maps an artifact's name to the source of its original; `peers` says whether
    originals and other libraries are measured too; `texts` is a number of texts, None for the task's own; `options` are
    those of the task; `scratch` is an empty folder.
    """

    artifacts: tuple[Path, ...]
    scratch: Path
    rounds: int
    originals: Mapping[str, str] = field(default_factory=dict)
    releases: Releases = field(default_factory=Releases)
    peers: bool = True
    texts: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
