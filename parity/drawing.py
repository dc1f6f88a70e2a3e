"""Plots as inline SVG: bar charts, the noise of quantized products, and helpers for other plots.

Colors are placeholders that become CSS variables of the page, and text stays text in the font of the page. So an SVG is
readable in the light and in the dark theme. The same input always results in the same bytes.
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

# Names of the page's CSS variables, without `--`. The index of a name is the last byte of its placeholder color, see
# `hex_of`.
_COLORS = ("ink", "muted", "grid", "card", "original", "fp32", "int8", "extra-1", "extra-2", "extra-3", "extra-4")
_EXTRA = _COLORS[7:]
ORIGINAL = "original"

_NAMED_LAYERS = 3
WIDTH, HEIGHT = 480, 330  # in CSS pixels: half the width of the page, and readable on a phone
STYLE: dict[Any, Any] = {  # settings of matplotlib
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
    """A horizontal bar; `text` is written at its end."""

    label: str
    color: str
    value: float
    text: str


def variant_colors(names: Sequence[str]) -> dict[str, str]:
    """Return the CSS variable with the color of every variant.

    fp32 and int8 have variables of their own. The other variants take turns with the variables `extra-1` to `extra-4`.
    """
    others = [name for name in names if name not in _COLORS]
    turns = {name: _EXTRA[index % len(_EXTRA)] for index, name in enumerate(others)}
    return {name: turns.get(name, name) for name in names}


def plot_bars(panels: Mapping[str, Sequence[Bar]], key: str, label: str) -> str:
    """Plot horizontal bars.

    :param panels: the bars by title; each title has a panel of its own.
    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    :returns: an SVG element.
    """
    with mpl.rc_context(STYLE):
        counts = [len(bars) for bars in panels.values()]
        figure = new_figure(46 * sum(counts) + 50 * len(counts))
        grid = figure.add_gridspec(len(panels), 1, height_ratios=[count + 0.6 for count in counts])
        for index, (title, bars) in enumerate(panels.items()):
            axes = new_axes(figure, grid[index, 0])
            heights = range(len(bars) - 1, -1, -1)
            axes.barh(heights, [bar.value for bar in bars], 0.62, color=[hex_of(bar.color) for bar in bars])
            top = max((bar.value for bar in bars), default=0) or 1
            for height, bar in zip(heights, bars, strict=True):
                axes.text(bar.value + 0.015 * top, height, bar.text, va="center", fontsize=11.5, color=hex_of("ink"))
            axes.set_yticks(heights, [short(bar.label) for bar in bars])
            axes.set(xlim=(0, 1.42 * top), ylim=(-0.55, len(bars) - 0.4), xticks=[])
            axes.spines["bottom"].set_visible(False)
            axes.axvline(0, color=hex_of("muted"), linewidth=1)
            axes.set_title(title, loc="left", color=hex_of("muted"))
        return to_svg(figure, key, label)


def plot_layers(layers: Mapping[str, float], color: str, key: str, label: str) -> str:
    """Plot the signal-to-noise ratio in dB of every quantized product in the given order, and name the lowest ones.

    :param layers: the ratio by name of the product.
    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    :returns: an SVG element.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(HEIGHT)
        axes = new_axes(figure)
        indices, values = np.arange(1, len(layers) + 1), np.array(list(layers.values()))
        span = max(float(np.ptp(values)), 2.0)
        low = values.min() - 0.3 * span
        axes.vlines(indices, low, values, color=hex_of(color), alpha=0.25, linewidth=2)
        axes.scatter(indices, values, s=26 if len(layers) < 80 else 10, color=hex_of(color), linewidth=0, zorder=3)
        median = float(np.median(values))
        axes.axhline(median, color=hex_of("muted"), linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0.2, len(layers) + 0.8), ylim=(low, values.max() + 0.16 * span))
        lowest = np.argsort(values, kind="stable")[:_NAMED_LAYERS]
        axes.scatter(indices[lowest], values[lowest], s=80, facecolor="none", edgecolor=hex_of("ink"), linewidth=1.2)
        axes.grid(axis="y", color=hex_of("grid"))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_xlabel(f"quantized product, in graph order\n{_lowest_named(values, list(layers), lowest)}")
        axes.set_title(f"signal-to-noise ratio, dB (dashed: median {median:.1f})", loc="left", color=hex_of("muted"))
        return to_svg(figure, key, label)


def _lowest_named(values: NDArray[np.float64], names: Sequence[str], lowest: NDArray[np.intp]) -> str:
    named = [f"{short(names[index], 48)} {values[index]:.1f}" for index in lowest]
    return "lowest: " + (", " if sum(map(len, named)) < 60 else "\n").join(named)


def scientific(value: float, digits: int = 2) -> str:
    """Format a positive number with `digits` significant digits, such as 2.6×10⁻⁷."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return power(int(exponent)) if float(mantissa) == 1 else f"{mantissa}×{power(int(exponent))}"


def power(exponent: int) -> str:
    """Format a power of ten with a superscript exponent, such as 10⁻⁷."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short(name: str, limit: int = 16) -> str:
    """Replace the middle of a name by an ellipsis if it is longer than `limit` characters."""
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-(limit // 2) :]}"


def hex_of(name: str) -> str:
    """Return the placeholder color of a CSS variable."""
    return f"#1000{_COLORS.index(name):02x}"


def new_figure(height: int) -> Figure:
    """Return an empty figure of the width `WIDTH`; `height` is in CSS pixels."""
    return Figure((WIDTH / 72, height / 72), layout="constrained")


def new_axes(figure: Figure, index: SubplotSpec | None = None) -> Axes:
    """Return new axes in the colors of the page."""
    axes: Axes = figure.add_subplot() if index is None else figure.add_subplot(index)
    axes.tick_params(axis="x", colors=hex_of("muted"))
    axes.tick_params(axis="y", colors=hex_of("ink"))
    axes.spines[:].set_color(hex_of("muted"))
    axes.xaxis.label.set_color(hex_of("muted"))
    axes.yaxis.label.set_color(hex_of("muted"))
    return axes


def to_svg(figure: Figure, key: str, label: str) -> str:
    """Render a figure as an SVG element.

    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": key}):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', svg)
    body = re.sub(r"<style.*?</style>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.DOTALL)
    body = re.sub(r' id="', f' id="{key}-', body)
    body = re.sub(r'(url\(|xlink:href=")#', rf"\1#{key}-", body)
    body = re.sub(r"#1000([0-9a-f]{2})", lambda match: f"var(--{_COLORS[int(match[1], 16)]})", body)
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="{box[1] if box else ""}">{body.strip()}'
