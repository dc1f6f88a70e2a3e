"""The tables of a run over named entities on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .ner_results import GROUPS, NerConditions, NerResults, NerRow
from .report import cell, counted, megabytes, new_table, print_missing, target_table, warn
from .results import COLD, PEAK_FIRST, PEAK_LONG, WORDS, WORDS_CPU

_SPEED = {WORDS: "words/s", WORDS_CPU: "words per CPU second"}
_FOOTPRINT = {COLD: "cold start", PEAK_FIRST: "peak to the first answer", PEAK_LONG: "peak with the long document"}


def print_results(results: NerResults, console: Console) -> None:
    """Print conditions, figures and acceptance ratios."""
    conditions = results.conditions
    console.print(_describe(conditions), highlight=False)
    for group in conditions.subjects:
        console.print(_describe_group(conditions, group), highlight=False)
        console.print(_speed_table(GROUPS[group], results.group(group)))
        console.print(_footprint_table(results.group(group)))
    console.print(target_table(results.targets))
    for row in results.rows:
        print_missing(row.name, row.missing, console)
    warn(conditions.other_load, conditions.busy_workers, console)


def _describe(conditions: NerConditions) -> str:
    software = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    return (
        f"\n{conditions.date}: {conditions.cpu}, {counted(conditions.cpus, 'CPU')}, "
        f"{' '.join(conditions.instruction_set)}\n{software}\n"
        f"{counted(conditions.rounds, 'round')}; medians, and below them the lowest and the highest value"
    )


def _describe_group(conditions: NerConditions, group: str) -> str:
    subject = conditions.subjects[group]
    long = f"; the long document has {subject.long_words:,} words" if subject.long_words else ""
    return (
        f"\n{', '.join(subject.artifacts)}; original: {subject.original}\n"
        f"{subject.texts:,} texts of {subject.words / subject.texts:.0f} words on average{long}"
    )


def _speed_table(title: str, rows: tuple[NerRow, ...]) -> Table:
    table = new_table(title)
    for name in (*_SPEED.values(), "entities found"):
        table.add_column(name, justify="right")
    for row in rows:
        entities = "–" if row.entities is None else f"{row.entities:,}"
        table.add_row(_name(row), *(cell(row.figures, figure) for figure in _SPEED), entities)
    return table


def _footprint_table(rows: tuple[NerRow, ...]) -> Table:
    table = new_table("Start, memory and size, each in a fresh process")
    shown = [figure for figure in _FOOTPRINT if any(figure in row.figures for row in rows)]
    for name in (*(_FOOTPRINT[figure] for figure in shown), "model on disk"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(_name(row), *(cell(row.figures, figure) for figure in shown), megabytes(row.disk_bytes))
    return table


def _name(row: NerRow) -> str:
    return f"[bold]{row.name}[/]" if row.name.startswith("onnx-ml-bridge") else row.name
