"""`Family`: what the project knows of one kind of model, declared once.

A family is a task and an engine. Its declaration is data; the code of each stage lies in a module of the family's name
(`export.NAME`, `parity.NAME`, `runtime.NAME`, ...), which a stage imports when it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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
    """A figure of parity.

    :param label: its row in the report's table, under the heading `group`.
    :param title: its column in short tables (command line, model card), written with `format`; None keeps it out.
    :param is_upper_bound: whether a gate's threshold must not be exceeded, instead of reached.
    :param is_share: whether the report writes it as a percentage.
    :param needs_option: the option of models.toml without which it is not measured.
    """

    name: str
    group: str
    label: str
    title: str | None = None
    format: str = ".5f"
    is_upper_bound: bool = False
    is_share: bool = False
    needs_option: str | None = None


@dataclass(frozen=True)
class Interface:
    """A graph's inputs and outputs by name, each with its element type and its number of dimensions.

    A role that is not `is_required` depends on the model; the family's schema says when it is there.
    """

    inputs: Mapping[str, tuple[str, int]]
    outputs: Mapping[str, tuple[str, int]]
    optional_inputs: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    is_required: bool = True


@dataclass(frozen=True, eq=False)
class Family:
    """The declaration of a family.

    :param name: the name of its module in every stage.
    :param title: what its models compute, for people; `pipeline_tag` is the model hub's name for the same.
    :param sections: its sections of the manifest, by key.
    :param schema: JSON schema that a manifest of this family satisfies beside the common one.
    :param roles: the graphs of a variant by role.
    :param case: the type of its golden cases.
    :param gates: the default thresholds of every variant that it can be built with, by metric.
    :param facts: what people read about an artifact first, by title.
    :param usage: the lines of Python in the model card that call the model.
    :param language: the ISO code of the model's language, None where it has none.
    :param builders: the distributions that decide an artifact's bytes, beside the common ones.
    :param command: the subcommand that runs its models on JSON lines.
    :param extra: the extra of the package that building needs beside `export`.
    :param package: where its modules are: `PACKAGE.STAGE.NAME`.
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

    @property
    def declaration(self) -> str:
        """Where the declaration is, as `MODULE:NAME`."""
        return f"{self.package}.artifacts.families.{self.name}:{self.name.upper()}"

    def module(self, stage: str) -> ModuleType:
        """The family's module of a stage, imported now."""
        return importlib.import_module(f"{self.package}.{stage}.{self.name}")

    def metric(self, name: str) -> Metric | None:
        """The metric of that name."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def gate_misses(self, figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
        """What falls short of a gate; see the function of the same name."""
        return gate_misses(self.metrics, figures, gate)


def gate_misses(metrics: Iterable[Metric], figures: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """What falls short of a gate, in words; empty where everything holds. Figures not measured are passed over."""
    misses = []
    for metric in metrics:
        if metric.name not in gate or metric.name not in figures:
            continue
        value, threshold = figures[metric.name], gate[metric.name]
        if not (value <= threshold if metric.is_upper_bound else value >= threshold):
            bound = "<=" if metric.is_upper_bound else ">="
            misses.append(f"{metric.name} is {value:.6g}, expected {bound} {threshold:.6g}")
    return misses


def find_family(task: object, engine: object, families: Iterable[Family]) -> Family | None:
    """The family of a task and an engine, None where there is none."""
    return next((family for family in families if (family.task, family.engine) == (task, engine)), None)


def require_family(task: str, engine: str, families: Iterable[Family]) -> Family:
    """The family of a task and an engine, or `ArtifactError` with the code `unknown_task`."""
    families = tuple(families)
    family = find_family(task, engine, families)
    if family is None:
        known = ", ".join(f"{each.task} ({each.engine})" for each in families)
        raise ArtifactError(
            "unknown_task",
            f"the artifact's task {task!r} with the engine {engine!r} is not known here",
            expected=f"one of {known}",
            hint=UPGRADE,
        )
    return family
