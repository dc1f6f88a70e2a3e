"""The picture of a run: embedding.png and embedding.svg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from .contenders import ORIGINAL, OURS
from .report import counted, megabytes, rate, seconds
from .results import BULK, COLD, PEAK_BULK, Conditions, Results, Row

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


@dataclass(frozen=True)
class _Panel:
    """One figure of every contender as bars."""

    title: str
    hint: str
    figure: str | None
    show: Callable[[float], str]


_PANELS = (
    _Panel("One text a call", "texts/s, longer is better", "batch_1", rate),
    _Panel("32 texts a call", "texts/s, longer is better", "batch_32", rate),
    _Panel("Bulk, all texts in one call", "texts/s, longer is better", BULK, rate),
    _Panel("Cold start to the first vector", "seconds, shorter is better", COLD, seconds),
    _Panel("Peak memory with the bulk", "MB, shorter is better", PEAK_BULK, megabytes),
    _Panel("Model on disk", "MB, shorter is better", None, megabytes),
)


def draw(results: Results, folder: Path) -> None:
    """Write both files to the folder."""
    rows = [row for row in results.rows if row.figures]
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(15, 2.6 + 0.84 * max(4, len(rows))), dpi=140, facecolor="white")
        axes = canvas.subplots(2, 3, sharey=True)
        for panel, place in zip(_PANELS, axes.flat, strict=True):
            _draw_panel(place, panel, rows)
        for place, cosines in ((axes[0, 0], True), (axes[1, 0], False)):
            _label_contenders(place, rows, cosines=cosines)
        _head(canvas, results)
        for suffix in ("png", "svg"):
            metadata = {"Date": None} if suffix == "svg" else None
            canvas.savefig(folder / f"embedding.{suffix}", metadata=metadata)


def _draw_panel(axes: Axes, panel: _Panel, rows: list[Row]) -> None:
    places = range(len(rows))
    values = [_value(row, panel) for row in rows]
    axes.barh(places, [value or 0 for value in values], height=0.66, color=[_color(row) for row in rows], zorder=2)
    highs = [row.figures[panel.figure].high for row in rows if panel.figure in row.figures]
    longest = max([*highs, *(value for value in values if value)], default=1)
    for place, row, value in zip(places, rows, values, strict=True):
        end = _draw_range(axes, place, row, panel)
        text = "not measured" if value is None else panel.show(value)
        axes.text(max(end, value or 0) + 0.015 * longest, place, text, va="center", fontsize=9.5,
                  color=_SOFT if value is None else _INK)  # fmt: skip
    axes.set_title(panel.title, loc="left", fontsize=12, fontweight="bold", pad=22)
    axes.text(0, 1.03, panel.hint, transform=axes.transAxes, fontsize=9, color=_SOFT)
    axes.set_xlim(0, 1.28 * longest)
    _quiet(axes)


def _value(row: Row, panel: _Panel) -> float | None:
    return row.disk_bytes if panel.figure is None else row.median(panel.figure)


def _draw_range(axes: Axes, place: int, row: Row, panel: _Panel) -> float:
    """A thin line from the lowest to the highest round; returns where it ends."""
    figure = row.figures.get(panel.figure or "")
    if figure is None:
        return 0.0
    axes.plot([figure.low, figure.high], [place, place], color=_INK, linewidth=1.2, solid_capstyle="butt", zorder=3)
    return figure.high


def _quiet(axes: Axes) -> None:
    """Bars carry their values: neither frame nor ticks are needed."""
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_GRID)
    axes.tick_params(axis="both", length=0, labelbottom=False, labelleft=False)


def _label_contenders(axes: Axes, rows: list[Row], *, cosines: bool) -> None:
    """Names to the left of the bars, and below them how close the vectors are to the original's."""
    across = axes.get_yaxis_transform()
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place, row in enumerate(rows):
        note = _closeness(row) if cosines else ""
        weight = "bold" if row.name in OURS else "normal"
        lift = 0.15 if note else 0.0
        axes.text(-0.02, place - lift, row.name, transform=across, ha="right", va="center", fontsize=10, weight=weight)
        axes.text(-0.02, place + 0.23, note, transform=across, ha="right", va="center", fontsize=8, color=_SOFT)


def _closeness(row: Row) -> str:
    if row.name == ORIGINAL:
        return "the original"
    return "" if row.cosine_min is None else f"cosine ≥ {_rounded_down(row.cosine_min):.4f}"


def _rounded_down(value: float) -> float:
    """Four digits; an `at least` must not be rounded up, but for the noise of float32."""
    return int(value * 1e4 + 0.01) / 1e4


def _color(row: Row) -> str:
    if row.name not in OURS:
        return _PEER
    return _RUST if row.name.endswith("Rust") else _PYTHON


def _head(canvas: Canvas, results: Results) -> None:
    found = results.conditions
    height = canvas.get_size_inches()[1]
    canvas.subplots_adjust(left=0.185, right=0.985, top=1 - 1.75 / height, bottom=0.5 / height, wspace=0.06,
                           hspace=0.32)  # fmt: skip
    title = f"Sentence embeddings on the CPU: {found.artifact}"
    canvas.text(0.02, 1 - 0.45 / height, title, fontsize=16, fontweight="bold")
    canvas.text(0.02, 1 - 0.78 / height, _subtitle(found), fontsize=9.5, color=_SOFT)


def _subtitle(found: Conditions) -> str:
    flags = ", ".join(flag for flag in found.instruction_set if flag != "fma")
    return (
        f"{found.cpu} ({flags}), {found.threads} threads, {found.date}\n{found.texts} texts of {found.tokens_mean:.0f} "
        f"tokens on average; medians of {counted(found.rounds, 'round')}, with a line from the lowest to the highest"
    )
