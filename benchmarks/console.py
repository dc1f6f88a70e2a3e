"""Print the tables of a run on the console."""

from __future__ import annotations

from onnx_ml_bridge.runtime import cpu
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from .results import Results
from .tables import Cell, Table, describe_conditions, describe_workload, is_bridge, missing, tables, warnings
from .targets import MET, MISSED, NO_TARGET

_WIDTH = 140
_STYLES = {MET: "green", MISSED: "bold red", NO_TARGET: "dim"}


def wide_console() -> Console:
    """Return a console that is wide enough for the tables, even if the output is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal and console.width >= _WIDTH else Console(width=_WIDTH, highlight=False)


def print_machine(console: Console) -> None:
    """Print the CPU and its instruction set."""
    machine = cpu.describe(cpu.usable_cpus())
    console.print(f"{machine.cpu}, {machine.threads} CPUs, {' '.join(machine.instruction_set)}", markup=False)


def print_results(results: Results, console: Console) -> None:
    """Print conditions, figures, targets and pairs."""
    console.print(
        f"\n[bold]{results.title}[/]\n{escape(describe_conditions(results))}, with the lowest and the highest value"
    )
    for workload in results.workloads:
        console.print(f"\n[bold]{workload.title}[/]\n{escape(describe_workload(workload))}\n")
        for table in tables(workload):
            console.print(_rich_table(table))
        for line in (line for row in workload.rows for line in missing(row)):
            console.print(line, style="yellow", markup=False)
    for line in warnings(results.conditions):
        console.print(line, style="yellow")


def _rich_table(table: Table) -> RichTable:
    rich_table = RichTable(title=table.title, title_justify="left", header_style="bold", show_lines=True)
    rich_table.add_column("")
    for column in table.columns:
        rich_table.add_column(column, justify="right")
    for name, cells in table.rows:
        rich_table.add_row(f"[bold]{name}[/]" if is_bridge(name) else name, *map(_text, cells))
    return rich_table


def _text(cell: Cell) -> str:
    style = _STYLES.get(cell.remark, "cyan")
    first = f"{cell.value} [{style}]{cell.remark}[/]" if cell.remark else cell.value
    return f"{first}\n[dim]{cell.range}[/]" if cell.range else first
