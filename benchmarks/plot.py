"""Plot the results of a run as TASK.png and TASK.svg, with a block of panels for each workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.figure import SubFigure

from .formats import FORMATS, counted
from .results import Conditions, Results, Row, WorkloadResults
from .tables import is_bridge
from .workload import Metric

_INK, _SOFT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_PEER, _PYTHON, _RUST = "#b8c1cb", "#2f7ebc", "#d9692b"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "onnx-ml-bridge",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _INK,
}
_COLUMNS = 3
_WIDTH, _HEAD, _TITLE, _PANEL_TITLE, _ROW = 16.0, 1.0, 1.0, 0.9, 0.42


def draw(results: Results, folder: Path) -> None:
    """Write the plot to the folder as a PNG and an SVG file."""
    heights = [_height(workload) for workload in results.workloads]
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(_WIDTH, _HEAD + sum(heights)), dpi=140, facecolor="white")
        blocks = canvas.subfigures(len(heights) + 1, 1, height_ratios=[_HEAD, *heights], squeeze=False)[:, 0]
        _draw_head(blocks[0], results.title, results.conditions)
        for block, workload, height in zip(blocks[1:], results.workloads, heights, strict=True):
            _draw_workload(block, workload, height)
        for suffix in ("png", "svg"):
            metadata = {"Date": None} if suffix == "svg" else None
            canvas.savefig(folder / f"{results.task}.{suffix}", metadata=metadata)


def _rows(workload: WorkloadResults) -> list[Row]:
    # Leave out contenders that were not measured: their only figure is the size on disk, which is always known
    return [row for row in workload.rows if len(row.figures) > 1]


def _panels(workload: WorkloadResults) -> list[Metric]:
    return [metric for metric in workload.metrics if metric.plotted]


def _lines(workload: WorkloadResults) -> int:
    return -(-len(_panels(workload)) // _COLUMNS)


def _height(workload: WorkloadResults) -> float:
    return _TITLE + _lines(workload) * (_PANEL_TITLE + _ROW * max(3, len(_rows(workload))))


def _draw_head(block: SubFigure, title: str, conditions: Conditions) -> None:
    flags = ", ".join(flag for flag in conditions.instruction_set if flag != "fma")
    machine = f"{conditions.cpu} ({flags}), {counted(conditions.cpus, 'CPU')}, {conditions.date}"
    rounds = f"medians of {counted(conditions.rounds, 'round')}, with a line from the lowest to the highest"
    block.text(0.02, 0.52, f"{title} on the CPU", fontsize=16, fontweight="bold")
    block.text(0.02, 0.18, f"{machine}; {rounds}", fontsize=9.5, color=_SOFT)


def _draw_workload(block: SubFigure, workload: WorkloadResults, height: float) -> None:
    rows, panels, lines = _rows(workload), _panels(workload), _lines(workload)
    grid = block.subplots(lines, _COLUMNS, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, metric in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, metric, rows)
    for line in range(lines):
        _label_contenders(grid[line, 0], rows, workload)
    spacing = _PANEL_TITLE / (_ROW * max(3, len(rows)))
    top = 1 - (_TITLE + 0.55) / height
    block.subplots_adjust(left=0.28, right=0.985, top=top, bottom=0.2 / height, wspace=0.06, hspace=spacing)
    block.text(0.02, 1 - 0.4 / height, workload.title, fontsize=13, fontweight="bold")
    facts = f"{', '.join(workload.artifacts)}; original: {workload.original}"
    block.text(0.02, 1 - 0.63 / height, facts, fontsize=9.5, color=_SOFT)


def _draw_panel(axes: Axes, metric: Metric, rows: list[Row]) -> None:
    """Draw one bar per row, from top to bottom, with its value and a line from the lowest to the highest round."""
    figures = [row.figures.get(metric.key) for row in rows]
    values = [figure.median if figure else 0.0 for figure in figures]
    longest = max([figure.high for figure in figures if figure] or [1.0])
    bars = axes.barh(range(len(rows)), values, height=0.66, color=[_color(row.name) for row in rows], zorder=2)
    for bar, row in zip(bars, rows, strict=True):
        bar.set_alpha(0.5 if row.name.endswith(")") else 1.0)  # earlier releases are paler
    for index, figure in enumerate(figures):
        text, end = "not measured", 0.0
        if figure:
            text, end = FORMATS[metric.unit](figure.median), figure.high
            axes.plot([figure.low, figure.high], [index, index], color=_INK, linewidth=1.2, zorder=3)
        axes.text(end + 0.015 * longest, index, text, va="center", fontsize=9.5, color=_INK if figure else _SOFT)
    axes.set_title(metric.title, loc="left", fontsize=12, fontweight="bold", pad=26)
    axes.text(0, 1.03, _hint(metric), transform=axes.transAxes, fontsize=9, color=_SOFT, va="bottom")
    axes.set_xlim(0, 1.28 * longest)
    _hide_frame(axes)


def _hint(metric: Metric) -> str:
    return "longer is better" if metric.higher_is_better else "shorter is better"


def _hide_frame(axes: Axes) -> None:
    """Remove the frame and the ticks, because every bar has its value beside it."""
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_GRID)
    axes.tick_params(axis="both", length=0, labelbottom=False, labelleft=False)


def _label_contenders(axes: Axes, rows: list[Row], workload: WorkloadResults) -> None:
    """Write the names of the contenders to the left of the bars, and the workload's note below each name."""
    across = axes.get_yaxis_transform()
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for index, row in enumerate(rows):
        note, weight = _note(row, workload), "bold" if is_bridge(row.name) else "normal"
        lift = 0.15 if note else 0.0
        axes.text(-0.02, index - lift, row.name, transform=across, ha="right", va="center", fontsize=10, weight=weight)
        axes.text(-0.02, index + 0.23, note, transform=across, ha="right", va="center", fontsize=8, color=_SOFT)


def _note(row: Row, workload: WorkloadResults) -> str:
    key, text = workload.note
    figure = row.figures.get(key)
    if figure is None or row.name == row.reference:
        return ""
    # The figure is rounded down to four digits, because the note shows it as a lower bound, as in `cosine ≥ 0.9984`.
    # 0.01 is added so that a rounding error of float32 does not reduce the last digit by 1.
    return f"{text}{int(figure.median * 1e4 + 0.01) / 1e4:.4f}"


def _color(name: str) -> str:
    if not is_bridge(name):
        return _PEER
    return _RUST if ", Rust" in name else _PYTHON
