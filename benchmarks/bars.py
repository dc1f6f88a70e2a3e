"""Bars with the range of their rounds, one panel for each figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from matplotlib.axes import Axes

from .results import Figure

INK, SOFT, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_PEER, _PYTHON, _RUST = "#b8c1cb", "#2f7ebc", "#d9692b"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "onnx-ml-bridge",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
}
_OURS = "onnx-ml-bridge"


class Plotted(Protocol):
    """A contender's row; `disk_bytes` is shown by panels without a figure."""

    @property
    def name(self) -> str:
        """The contender."""

    @property
    def disk_bytes(self) -> int:
        """Bytes of the model's files."""

    @property
    def figures(self) -> dict[str, Figure]:
        """What was measured."""


@dataclass(frozen=True)
class Panel:
    """One figure of every contender as bars."""

    title: str
    hint: str
    figure: str | None
    show: Callable[[float], str]


def draw_panel(axes: Axes, panel: Panel, rows: Sequence[Plotted]) -> None:
    """One bar a row, from top to bottom; what was not measured says so."""
    indices = range(len(rows))
    values = [_value(row, panel) for row in rows]
    axes.barh(indices, [value or 0 for value in values], height=0.66, color=[_color(row) for row in rows], zorder=2)
    highs = [row.figures[panel.figure].high for row in rows if panel.figure in row.figures]
    longest = max([*highs, *(value for value in values if value)], default=1)
    for index, row, value in zip(indices, rows, values, strict=True):
        end = _draw_range(axes, index, row, panel)
        text = "not measured" if value is None else panel.show(value)
        axes.text(
            max(end, value or 0) + 0.015 * longest,
            index,
            text,
            va="center",
            fontsize=9.5,
            color=SOFT if value is None else INK,
        )
    axes.set_title(panel.title, loc="left", fontsize=12, fontweight="bold", pad=22)
    axes.text(0, 1.03, panel.hint, transform=axes.transAxes, fontsize=9, color=SOFT)
    axes.set_xlim(0, 1.28 * longest)
    _quiet(axes)


def _value(row: Plotted, panel: Panel) -> float | None:
    if panel.figure is None:
        return row.disk_bytes
    return row.figures[panel.figure].median if panel.figure in row.figures else None


def _draw_range(axes: Axes, index: int, row: Plotted, panel: Panel) -> float:
    """A thin line from the lowest to the highest round; returns where it ends."""
    figure = row.figures.get(panel.figure or "")
    if figure is None:
        return 0.0
    axes.plot([figure.low, figure.high], [index, index], color=INK, linewidth=1.2, solid_capstyle="butt", zorder=3)
    return figure.high


def _quiet(axes: Axes) -> None:
    """Bars carry their values: neither frame nor ticks are needed."""
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_GRID)
    axes.tick_params(axis="both", length=0, labelbottom=False, labelleft=False)


def label_contenders(axes: Axes, rows: Sequence[Plotted], notes: Sequence[str]) -> None:
    """Names to the left of the bars, and a note below each of them where it is not empty."""
    across = axes.get_yaxis_transform()
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for index, (row, note) in enumerate(zip(rows, notes, strict=True)):
        weight = "bold" if row.name.startswith(_OURS) else "normal"
        lift = 0.15 if note else 0.0
        axes.text(-0.02, index - lift, row.name, transform=across, ha="right", va="center", fontsize=10, weight=weight)
        axes.text(-0.02, index + 0.23, note, transform=across, ha="right", va="center", fontsize=8, color=SOFT)


def _color(row: Plotted) -> str:
    if not row.name.startswith(_OURS):
        return _PEER
    return _RUST if row.name.endswith("Rust") else _PYTHON
