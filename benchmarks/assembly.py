"""Compute the results of a workload from the recorded values: figures, derived figures, targets and pairs."""

from __future__ import annotations

from .contenders import Contender
from .pairs import pair_releases
from .record import Record
from .results import Figure, Row, WorkloadResults
from .targets import evaluate
from .workload import DISK, Metric, Workload


def assemble(workload: Workload, record: Record) -> WorkloadResults:
    """Return the results of one workload, computed from its recorded values."""
    rows = tuple(_row(contender, workload, record) for contender in workload.contenders)
    medians = {row.name: row.medians() for row in rows}
    return WorkloadResults(
        title=workload.title,
        original=workload.original,
        artifacts=workload.artifacts,
        facts=workload.facts,
        metrics=_measured(workload, rows),
        rows=rows,
        targets=tuple(
            evaluate(ratio, medians) for ratio in workload.ratios if {ratio.left, ratio.right} <= set(medians)
        ),
        pairs=pair_releases(workload, record),
        note=workload.note,
    )


def _row(contender: Contender, workload: Workload, record: Record) -> Row:
    known = {metric.key for metric in workload.metrics}
    values = {key: rounds for key, rounds in record.values(contender.name).items() if key in known}
    figures = {key: Figure(tuple(rounds.values())) for key, rounds in values.items()}
    if contender.disk_bytes:
        figures[DISK.key] = Figure((contender.disk_bytes,))
    if workload.outputs and contender.name in record.outputs:
        figures[workload.outputs.key] = Figure((record.outputs[contender.name],))
    if workload.derive:
        medians = {key: figure.median for key, figure in figures.items()}
        figures |= {key: Figure((value,)) for key, value in workload.derive(contender, medians).items()}
    return Row(contender.name, contender.reference, figures, record.missing.get(contender.name, {}))


def _measured(workload: Workload, rows: tuple[Row, ...]) -> tuple[Metric, ...]:
    """Return the metrics that were measured for at least one contender."""
    return tuple(metric for metric in workload.metrics if any(metric.key in row.figures for row in rows))
