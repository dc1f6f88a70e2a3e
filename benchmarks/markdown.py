"""Write the tables of a run as Markdown between the two markers of its task in a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .results import Results
from .tables import Cell, Table, describe_conditions, describe_workload, is_bridge, missing, tables, warnings


class NoMarkers(Exception):
    """A document does not have the markers of a task."""


def markers(task: str) -> tuple[str, str]:
    """Return the lines before and after the tables of a task."""
    return f"<!-- begin {task} -->", f"<!-- end {task} -->"


def update(document: Path, results: Results) -> None:
    """Replace the text between the markers of a task in a document.

    :raises NoMarkers: if the document does not have the markers.
    """
    begin, end = markers(results.task)
    before, has_begin, rest = document.read_text(encoding="utf-8").partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise NoMarkers(f"{document.name} has no lines {begin} and {end}")
    document.write_text(f"{before}{begin}\n{render(results)}\n{end}{after}", encoding="utf-8")


def render(results: Results) -> str:
    """Return the conditions and the tables of a run as Markdown."""
    return "\n\n".join(_blocks(results))


def _blocks(results: Results) -> Iterator[str]:
    yield describe_conditions(results) + "."
    yield from warnings(results.conditions)
    for workload in results.workloads:
        yield f"#### {workload.title}"
        yield describe_workload(workload) + "."
        yield from map(_table, tables(workload))
        yield from (f"- {line}" for row in workload.rows for line in missing(row))


def _table(table: Table) -> str:
    head = f"| {' | '.join((table.title, *table.columns))} |"
    rule = f"|---|{'---:|' * len(table.columns)}"
    rows = [f"| {' | '.join((_name(name), *map(_text, cells)))} |" for name, cells in table.rows]
    return "\n".join([head, rule, *rows])


def _name(name: str) -> str:
    return f"**{name}**" if is_bridge(name) else name


def _text(cell: Cell) -> str:
    return f"{cell.value} ({cell.remark})" if cell.remark else cell.value
