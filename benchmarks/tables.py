"""The tables of a run as titles and cells; the modules `console` and `markdown` format them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .contenders import BRIDGE
from .formats import FORMATS, NOTHING, counted, factor
from .results import Conditions, Figure, PairedRow, Results, Row, WorkloadResults
from .targets import NO_TARGET, PAIRED_MINIMUM, Target
from .workload import FOOTPRINT, SPEED, Metric

_SECTIONS = {SPEED: "Speed", FOOTPRINT: "Start, memory and size, each in a fresh process"}


@dataclass(frozen=True)
class Cell:
    """A value and its range over the rounds; `remark` is the ratio to the reference, or the verdict on a target."""

    value: str
    range: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """A table; `rows` has the name and the cells of every row, `columns` the titles of the cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def tables(workload: WorkloadResults) -> Iterator[Table]:
    """Yield all tables of a workload that are not empty."""
    for section, title in _SECTIONS.items():
        if metrics := [metric for metric in workload.metrics if metric.section == section]:
            rows = tuple((row.name, _cells(row, metrics, workload)) for row in workload.rows)
            yield Table(title, tuple(metric.title for metric in metrics), rows)
    if workload.targets:
        yield _target_table(workload)
    if workload.pairs:
        yield _pair_table(workload)


def describe_conditions(results: Results) -> str:
    """Return the conditions of a run in three lines: date and machine, versions, and rounds."""
    conditions = results.conditions
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    fresh = f"{counted(conditions.fresh_rounds, 'round')} of fresh processes"
    machine = f"{conditions.cpu}, {counted(conditions.cpus, 'CPU')}, {' '.join(conditions.instruction_set)}"
    return f"{conditions.date}: {machine}\n{versions}\nMedians of {counted(conditions.rounds, 'round')} and of {fresh}"


def describe_workload(workload: WorkloadResults) -> str:
    """Return the artifacts, the original and the facts of a workload, in two lines."""
    facts = ", ".join(f"{name}: {_fact(value)}" for name, value in workload.facts.items())
    return f"{', '.join(workload.artifacts)}; original: {workload.original}\n{facts}"


def warnings(conditions: Conditions) -> Iterator[str]:
    """Yield warnings about conditions that may have disturbed the measurements."""
    if conditions.other_load > 0.1:
        yield f"Other programs used {conditions.other_load:.0%} of the CPUs on average: measure on a quiet machine."
    if conditions.busy_starts:
        yield f"{counted(conditions.busy_starts, 'measurement')} began while another contender was busy."


def missing(row: Row) -> Iterator[str]:
    """Yield one line for each reason why metrics of a contender were not measured."""
    for reason in dict.fromkeys(row.missing.values()):
        what = ", ".join(metric for metric, why in row.missing.items() if why == reason)
        yield f"not measured: {row.name} ({what}): {reason}"


def is_bridge(name: str) -> bool:
    """Return whether a contender belongs to this project."""
    return name.startswith(BRIDGE)


def _cells(row: Row, metrics: list[Metric], workload: WorkloadResults) -> tuple[Cell, ...]:
    reference = workload.row(row.reference)
    return tuple(_cell(row, metric, reference) for metric in metrics)


def _cell(row: Row, metric: Metric, reference: Row | None) -> Cell:
    figure = row.figures.get(metric.key)
    if figure is None:
        return Cell(NOTHING)
    show = FORMATS[metric.unit]
    span = f"{show(figure.low)} – {show(figure.high)}" if len(figure.values) > 1 else ""
    compared = reference.figures.get(metric.key) if reference and reference.name != row.name else None
    return Cell(show(figure.median), span, factor(metric, figure.median, compared.median) if compared else "")


def _target_table(workload: WorkloadResults) -> Table:
    units = {metric.key: metric.unit for metric in workload.metrics}
    rows = tuple((target.name, _target_cells(target, units)) for target in workload.targets)
    return Table("Targets", ("left", "right", "ratio", "target"), rows)


def _target_cells(target: Target, units: dict[str, str]) -> tuple[Cell, ...]:
    sides = [target.left, target.right]
    shown = [Cell(NOTHING if side is None else FORMATS[units[target.metric]](side)) for side in sides]
    value = NOTHING if target.value is None else f"{target.value:.2f}"
    minimum = NOTHING if target.minimum is None else f"{target.minimum:g}"
    return (*shown, Cell(value), Cell(minimum, remark=target.verdict))


def _pair_table(workload: WorkloadResults) -> Table:
    keys = {key for pair in workload.pairs for key in pair.ratios}
    metrics = [metric for metric in workload.metrics if metric.key in keys]
    rows = tuple((f"{pair.label} / {pair.release}", _pair_cells(pair, metrics)) for pair in workload.pairs)
    title = f"This release / an earlier one: medians of paired ratios, above 1 is better, target {PAIRED_MINIMUM:g}"
    return Table(title, tuple(metric.title for metric in metrics), rows)


def _pair_cells(pair: PairedRow, metrics: list[Metric]) -> tuple[Cell, ...]:
    return tuple(_pair_cell(pair.ratios.get(metric.key), pair.verdicts.get(metric.key, "")) for metric in metrics)


def _pair_cell(figure: Figure | None, verdict: str) -> Cell:
    if figure is None:
        return Cell(NOTHING)
    span = f"{figure.low:.3f} – {figure.high:.3f}" if len(figure.values) > 1 else ""
    return Cell(f"{figure.median:.3f}", span, "" if verdict == NO_TARGET else verdict)


def _fact(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
