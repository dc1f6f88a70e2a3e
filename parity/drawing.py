"""Inline SVG for reports: bars, lines of quantized products, and what every plot is drawn with.

Every colour is drawn as a placeholder and becomes a CSS variable of the page, and texts stay texts in the page's font:
one SVG is readable in the light and in the dark theme. The same figures always give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# CSS variables of the page, without their dashes; a place in this tuple is the last byte of the placeholder.
_COLOURS = ("ink", "muted", "grid", "card", "original", "fp32", "int8", "extra-1", "extra-2", "extra-3", "extra-4")
_EXTRA = _COLOURS[7:]
ORIGINAL = "original"

_NAMED_LAYERS = 3
WIDTH, HEIGHT = 480, 330  # CSS pixels at full size: half the page, and readable on a phone
STYLE: dict[Any, Any] = {  # matplotlib's settings, by its names
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.dpi": 72,
    "savefig.dpi": 72,
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 11.5,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.linewidth": 1,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Bar:
    """One bar and what is written at its end."""

    label: str
    colour: str
    value: float
    text: str


def variant_colours(names: Sequence[str]) -> dict[str, str]:
    """A CSS variable for each variant: fp32 and int8 always have their own, others take turns."""
    others = [name for name in names if name not in _COLOURS]
    turns = {name: _EXTRA[index % len(_EXTRA)] for index, name in enumerate(others)}
    return {name: turns.get(name, name) for name in names}


def plot_bars(panels: Mapping[str, Sequence[Bar]], key: str, label: str) -> str:
    """Panels of horizontal bars from zero, one panel under the other, each bar with its figure."""
    with mpl.rc_context(STYLE):
        counts = [len(bars) for bars in panels.values()]
        figure = new_figure(46 * sum(counts) + 50 * len(counts))
        grid = figure.add_gridspec(len(panels), 1, height_ratios=[count + 0.6 for count in counts])
        for index, (title, bars) in enumerate(panels.items()):
            axes = new_axes(figure, grid[index, 0])
            heights = range(len(bars) - 1, -1, -1)
            axes.barh(heights, [bar.value for bar in bars], 0.62, color=[hex_of(bar.colour) for bar in bars])
            top = max((bar.value for bar in bars), default=0) or 1
            for height, bar in zip(heights, bars, strict=True):
                axes.text(bar.value + 0.015 * top, height, bar.text, va="center", fontsize=11.5, color=hex_of("ink"))
            axes.set_yticks(heights, [short(bar.label) for bar in bars])
            axes.set(xlim=(0, 1.42 * top), ylim=(-0.55, len(bars) - 0.4), xticks=[])
            axes.spines["bottom"].set_visible(False)
            axes.axvline(0, color=hex_of("muted"), linewidth=1)
            axes.set_title(title, loc="left", color=hex_of("muted"))
        return to_svg(figure, key, label)


def plot_layers(layers: Mapping[str, float], colour: str, key: str, label: str) -> str:
    """Signal to noise in dB of each quantized product in the order given; the lowest ones are named."""
    with mpl.rc_context(STYLE):
        figure = new_figure(HEIGHT)
        axes = new_axes(figure)
        indices, values = np.arange(1, len(layers) + 1), np.array(list(layers.values()))
        span = max(float(np.ptp(values)), 2.0)
        low = values.min() - 0.3 * span
        axes.vlines(indices, low, values, color=hex_of(colour), alpha=0.25, linewidth=2)
        axes.scatter(indices, values, s=26 if len(layers) < 80 else 10, color=hex_of(colour), linewidth=0, zorder=3)
        median = float(np.median(values))
        axes.axhline(median, color=hex_of("muted"), linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0.2, len(layers) + 0.8), ylim=(low, values.max() + 0.16 * span))
        lowest = np.argsort(values, kind="stable")[:_NAMED_LAYERS]
        axes.scatter(indices[lowest], values[lowest], s=80, facecolor="none", edgecolor=hex_of("ink"), linewidth=1.2)
        axes.grid(axis="y", color=hex_of("grid"))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_xlabel(f"quantized product, in graph order\n{_lowest_named(values, list(layers), lowest)}")
        axes.set_title(f"signal to noise, dB (dashed: median {median:.1f})", loc="left", color=hex_of("muted"))
        return to_svg(figure, key, label)


def _lowest_named(values: NDArray[np.float64], names: Sequence[str], lowest: NDArray[np.intp]) -> str:
    named = [f"{short(names[index], 48)} {values[index]:.1f}" for index in lowest]
    return "lowest: " + (", " if sum(map(len, named)) < 60 else "\n").join(named)


def scientific(value: float, digits: int = 2) -> str:
    """A positive number as 2.6×10⁻⁷ with `digits` significant digits."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return power(int(exponent)) if float(mantissa) == 1 else f"{mantissa}×{power(int(exponent))}"


def power(exponent: int) -> str:
    """A power of ten, with the exponent in Unicode superscripts."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short(name: str, limit: int = 16) -> str:
    """The name with its middle left out if it is longer than `limit`."""
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-(limit // 2) :]}"


def hex_of(name: str) -> str:
    """The placeholder of a CSS variable."""
    return f"#1000{_COLOURS.index(name):02x}"


def new_figure(height: int) -> Figure:
    """An empty drawing; `height` in CSS pixels at full size."""
    return Figure((WIDTH / 72, height / 72), layout="constrained")


def new_axes(figure: Figure, index: SubplotSpec | None = None) -> Axes:
    """Axes in the page's colours."""
    axes: Axes = figure.add_subplot() if index is None else figure.add_subplot(index)
    axes.tick_params(axis="x", colors=hex_of("muted"))
    axes.tick_params(axis="y", colors=hex_of("ink"))
    axes.spines[:].set_color(hex_of("muted"))
    axes.xaxis.label.set_color(hex_of("muted"))
    axes.yaxis.label.set_color(hex_of("muted"))
    return axes


def to_svg(figure: Figure, key: str, label: str) -> str:
    """The figure as an SVG element for a page; `key` keeps its ids apart from those of other figures there."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": key}):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', svg)
    body = re.sub(r"<style.*?</style>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.DOTALL)
    body = re.sub(r' id="', f' id="{key}-', body)
    body = re.sub(r'(url\(|xlink:href=")#', rf"\1#{key}-", body)
    body = re.sub(r"#1000([0-9a-f]{2})", lambda found: f"var(--{_COLOURS[int(found[1], 16)]})", body)
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="{box[1] if box else ""}">{body.strip()}'
