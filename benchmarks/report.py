"""The tables on the console."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from .contenders import OURS
from .results import (
    BATCHES,
    BULK,
    COLD,
    PEAK_BULK,
    PEAK_FIRST,
    PEAK_LONG,
    WORDS,
    WORDS_CPU,
    Conditions,
    Figure,
    Results,
    Row,
    Target,
)
from .targets import MET, MISSED

_WIDTH = 118
_VERDICT_STYLES = {MET: "green", MISSED: "red"}


def wide_console() -> Console:
    """A console in which the tables fit, also where the output is no terminal."""
    console = Console()
    return console if console.is_terminal and console.width >= _WIDTH else Console(width=_WIDTH)


def print_results(results: Results, console: Console) -> None:
    """Print conditions, figures and acceptance ratios."""
    console.print(_describe(results.conditions), highlight=False)
    console.print(_speed_table(results.rows))
    console.print(_footprint_table(results.rows))
    console.print(target_table(results.targets))
    for row in results.rows:
        print_missing(row.name, row.missing, console)
    warn(results.conditions.other_load, results.conditions.busy_workers, console)


def megabytes(value: float) -> str:
    """Bytes in MB, 10^6 bytes."""
    return f"{value / 1e6:,.0f} MB"


def seconds(value: float) -> str:
    """Seconds to two or three digits."""
    return f"{value:.2f} s" if value >= 1 else f"{value:.3f} s"


def rate(value: float) -> str:
    """Texts or words per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def counted(number: int, what: str) -> str:
    """`1 round`, `5 rounds`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys([*BATCHES, BULK, WORDS, WORDS_CPU], rate),
    COLD: seconds,
    **dict.fromkeys([PEAK_FIRST, PEAK_BULK, PEAK_LONG], megabytes),
}


def _describe(conditions: Conditions) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    return (
        f"\n{conditions.date}: {conditions.artifact}, original {conditions.source}\n"
        f"{conditions.cpu}, {conditions.threads} threads, {' '.join(conditions.instruction_set)}\n"
        f"{versions}\n"
        f"{conditions.texts} texts of {conditions.tokens_mean:.1f} tokens on average "
        f"({conditions.tokens_min} to {conditions.tokens_max}), {counted(conditions.rounds, 'round')}; "
        "medians, and below them the lowest and the highest value"
    )


def _speed_table(rows: tuple[Row, ...]) -> Table:
    table = new_table("Texts per second")
    for batch in BATCHES.values():
        table.add_column(f"batch {batch}", justify="right")
    table.add_column("bulk, one call", justify="right")
    table.add_column("cosine min", justify="right")
    table.add_column("cosine mean", justify="right")
    for row in rows:
        cosines = [_cosine(row.cosine_min), _cosine(row.cosine_mean)]
        table.add_row(_name(row), *(cell(row.figures, figure) for figure in (*BATCHES, BULK)), *cosines)
    return table


def _footprint_table(rows: tuple[Row, ...]) -> Table:
    table = new_table("Start, memory and size, each in a fresh process")
    for column in ("cold start", "peak to the first vector", "peak with the bulk", "model on disk"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = (cell(row.figures, figure) for figure in (COLD, PEAK_FIRST, PEAK_BULK))
        table.add_row(_name(row), *cells, megabytes(row.disk_bytes))
    return table


def target_table(targets: tuple[Target, ...]) -> Table:
    """Every ratio with its two sides and the verdict."""
    table = Table(title="Acceptance ratios", title_justify="left", header_style="bold")
    for column in ("", "left", "right", "ratio", "target", ""):
        table.add_column(column, justify="left" if not column else "right")
    for target in targets:
        show = FORMATS[target.figure]
        table.add_row(
            target.name,
            *("–" if value is None else show(value) for value in (target.left, target.right)),
            "–" if target.value is None else f"{target.value:.2f}",
            "–" if target.minimum is None else f"{target.at_least:g}",
            f"[{_VERDICT_STYLES.get(target.verdict, 'dim')}]{target.verdict}[/]",
        )
    return table


def print_missing(name: str, missing: dict[str, str], console: Console) -> None:
    """Say what was not measured of a contender, each reason once."""
    for reason in dict.fromkeys(missing.values()):
        what = ", ".join(figure for figure, why in missing.items() if why == reason)
        console.print(f"not measured: {name} ({what}): {reason}", style="yellow", markup=False, highlight=False)


def warn(other_load: float, busy_workers: int, console: Console) -> None:
    """Say what disturbed the measurements."""
    if other_load > 0.1:
        share = f"{other_load:.0%}"
        console.print(f"[yellow]Other programs used {share} of the CPUs on average: measure on a quiet machine.[/]")
    if busy_workers:
        console.print(f"[yellow]{busy_workers} measurements began while another worker was busy.[/]")


def new_table(title: str) -> Table:
    """A table whose first column is for names."""
    found = Table(title=title, title_justify="left", header_style="bold", show_lines=True)
    found.add_column("", no_wrap=True)
    return found


def _name(row: Row) -> str:
    return f"[bold]{row.name}[/]" if row.name in OURS else row.name


def cell(figures: dict[str, Figure], name: str) -> str:
    """The median and the range of a figure."""
    figure = figures.get(name)
    return "–" if figure is None else _with_range(figure, FORMATS[name])


def _with_range(figure: Figure, show: Callable[[float], str]) -> str:
    if len(figure.values) == 1:
        return show(figure.median)
    return f"{show(figure.median)}\n[dim]{show(figure.low)} – {show(figure.high)}[/]"


def _cosine(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"
