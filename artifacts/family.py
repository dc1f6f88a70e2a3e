"""`Family`: the declaration of one family of models.

A family is a pair of task and engine. Its declaration is data. Each stage has a module with the family's name
(`export.NAME`, `parity.NAME`, `runtime.NAME`, ...), which is imported when the stage runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError
from .golden import Case
from .manifest_sections import Section

if TYPE_CHECKING:
    from .manifest import Manifest

PACKAGE = __package__.rpartition(".")[0]
UPGRADE = "Upgrade onnx-ml-bridge, or build the artifact again with this version."


@dataclass(frozen=True)
class Metric:
    """A metric that compares a variant with the original.

    :param group: the heading in the table of the report.
    :param label: the row in that table.
    :param title: the column in the tables of the command line and the model card; None if it has no column there.
    :param format: the format specification for these columns.
    :param is_upper_bound: whether a threshold is a maximum (true) or a minimum (false).
    :param is_share: whether the report displays the value as a percentage.
    :param needs_option: the option of models.toml that is required to measure the metric, or None.
    :param per_option: the option of models.toml that lists the values for which the metric is measured, or None. The
        name of such a metric is `BASE_at_N`, where N stands for the value. If a gate has no threshold for it, that of
        the metric BASE applies.
    """

    name: str
    group: str
    label: str
    title: str | None = None
    format: str = ".5f"
    is_upper_bound: bool = False
    is_share: bool = False
    needs_option: str | None = None
    per_option: str | None = None

    def at(self, value: str) -> Metric:
        """Return this metric, which `per_option` repeats, for one value."""
        title = None if self.title is None else f"{self.title} at {value}"
        return replace(self, name=self.name.removesuffix("N") + value, label=f"{self.label} at {value}", title=title)

    def among(self, names: Collection[str]) -> list[Metric]:
        """Return the metrics of these names that are this metric, or this metric for a value, lowest first."""
        if self.per_option is None:
            return [self] if self.name in names else []
        start = self.name.removesuffix("N")
        values = (name.removeprefix(start) for name in names if name.startswith(start))
        return [self.at(value) for value in sorted((each for each in values if each.isdecimal()), key=int)]

    def threshold(self, gate: Mapping[str, float]) -> float | None:
        """Return the threshold of this metric in a gate, None if the gate has none."""
        return gate.get(self.name, None if self.per_option is None else gate.get(self.name.partition("_at_")[0]))


def metrics_among(metrics: Iterable[Metric], names: Collection[str]) -> list[Metric]:
    """Return the metrics of these names in the order of declaration, one for each value of `per_option`."""
    return [each for metric in metrics for each in metric.among(names)]


@dataclass(frozen=True)
class Interface:
    """The interface that all graphs of one role have: the element type and number of dimensions of inputs and outputs.

    If `is_required` is false, only some models of the family have a graph of this role; the family's schema states
    which.
    """

    inputs: Mapping[str, tuple[str, int]]
    outputs: Mapping[str, tuple[str, int]]
    optional_inputs: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    is_required: bool = True


@dataclass(frozen=True, eq=False)
class Family:
    """The declaration of a family.

    :param name: the name of the family's module in every stage.
    :param revision: the newest `task_revision` that this version reads, and the one it writes.
    :param title: the output of the models, as the model card displays it.
    :param pipeline_tag: the name of the task on the Hugging Face hub.
    :param sections: the dataclasses of the manifest sections, by key.
    :param schema: the JSON schema of a manifest of this family, in addition to the common schema.
    :param roles: the interfaces of a variant's graphs, by role.
    :param case: the class of the golden cases.
    :param gates: the default thresholds by variant and metric; the keys are the variants that are built by default.
    :param optional_gates: the same for the variants that are built only if the build settings name them.
    :param facts: a function that returns the properties that `show`, the model card and the report display, by title.
    :param usage: a function that returns the lines of Python in the model card that run the model.
    :param command: the subcommand that runs the models on JSON lines.
    :param builders: Python distributions that determine the bytes of an artifact, in addition to the common ones.
    :param language: a function that returns the ISO code of the model's language, or None.
    :param extra: the extra of the package that a build requires in addition to `export`, or None.
    :param package: the package with the family's modules, which are named `PACKAGE.STAGE.NAME`.
    """

    name: str
    task: str
    engine: str
    revision: int
    title: str
    pipeline_tag: str
    sections: Mapping[str, type[Section]]
    schema: Mapping[str, Any]
    roles: Mapping[str, Interface]
    case: type[Case]
    metrics: tuple[Metric, ...]
    gates: Mapping[str, Mapping[str, float]]
    facts: Callable[[Manifest], dict[str, str]]
    usage: Callable[[Manifest], str]
    command: str
    builders: tuple[str, ...]
    language: Callable[[Manifest], str | None] = lambda manifest: None
    extra: str | None = None
    package: str = PACKAGE
    optional_gates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def all_gates(self) -> dict[str, Mapping[str, float]]:
        """The default thresholds of all variants that can be built."""
        return {**self.gates, **self.optional_gates}

    @property
    def declaration(self) -> str:
        """The import path of this family declaration, `MODULE:NAME`."""
        return f"{self.package}.artifacts.families.{self.name}:{self.name.upper()}"

    def module(self, stage: str) -> ModuleType:
        """Import and return the family's module of a stage, such as `runtime`."""
        return importlib.import_module(f"{self.package}.{stage}.{self.name}")

    def metric(self, name: str) -> Metric | None:
        """Return the metric with this name; None if the family has no such metric."""
        return next(iter(metrics_among(self.metrics, (name,))), None)

    def gate_misses(self, figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
        """Compare measured values with the thresholds of a gate for this family's metrics; see `gate_misses` below."""
        return gate_misses(self.metrics, figures, gate)


def gate_misses(metrics: Iterable[Metric], figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """Compare measured values with the thresholds of a gate.

    :param figures: the measured values by metric; a metric that was not measured is skipped.
    :param gate: the thresholds by metric.
    :returns: one message per missed threshold; a value that is not a number misses every threshold.
    """
    misses = []
    for metric in metrics_among(metrics, figures):
        value, threshold = figures[metric.name], metric.threshold(gate)
        if threshold is None:
            continue
        if not (value <= threshold if metric.is_upper_bound else value >= threshold):
            bound = "<=" if metric.is_upper_bound else ">="
            misses.append(f"{metric.name} is {value:.6g}, expected {bound} {threshold:.6g}")
    return misses


def find_family(task: object, engine: object, families: Iterable[Family]) -> Family | None:
    """Return the family of a task and an engine; None if `families` has no such family."""
    return next((family for family in families if (family.task, family.engine) == (task, engine)), None)


def require_family(task: str, engine: str, families: Iterable[Family]) -> Family:
    """Return the family of a task and an engine.

    :raises ArtifactError: with the code `unknown_task` if `families` has no such family.
    """
    families = tuple(families)
    family = find_family(task, engine, families)
    if family is None:
        known = ", ".join(f"{each.task} ({each.engine})" for each in families)
        raise ArtifactError(
            "unknown_task",
            f"the artifact's task {task!r} with the engine {engine!r} is not supported",
            expected=f"one of {known}",
            hint=UPGRADE,
        )
    return family
