"""The report's plots as inline SVG.

Every colour is drawn as a placeholder and becomes a CSS variable of the page, and texts stay texts in the page's font:
one SVG is readable in the light and in the dark theme. The same figures always give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .texts import HARD, PLAIN

# CSS variables of the page, without their dashes; a place in this tuple is the last byte of the placeholder.
_COLOURS = ("ink", "muted", "grid", "card", "original", "fp32", "int8", "extra-1", "extra-2", "extra-3", "extra-4")
_EXTRA = _COLOURS[7:]
ORIGINAL = "original"

_FLOOR = -16.0  # decades; 1 - cosine of float64 cannot say more, and 0 has no logarithm
_NAMED_LAYERS = 3
_MAX_DECIMALS = 6  # of a cosine beside a plot
_WIDTH, _HEIGHT = 480, 330  # CSS pixels at full size: half the page, and readable on a phone
_STYLE: dict[Any, Any] = {  # matplotlib's settings, by its names
    "svg.fonttype": "none", "text.parse_math": False, "figure.dpi": 72, "savefig.dpi": 72,
    "font.size": 12, "axes.titlesize": 12, "axes.labelsize": 11.5, "xtick.labelsize": 11.5, "ytick.labelsize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0, "axes.linewidth": 1,
    "legend.frameon": False, "legend.fontsize": 11.5, "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip


@dataclass(frozen=True)
class ErrorRow:
    """One distribution of 1 - cosine: `errors` float64 `[n]`, and the largest error the gate allows, if it has one."""

    name: str
    part: str
    colour: str
    errors: NDArray[np.float64]
    bound: float | None


@dataclass(frozen=True)
class Bar:
    """One bar and what is written at its end."""

    label: str
    colour: str
    value: float
    text: str


@dataclass(frozen=True)
class TokenPoints:
    """Cosines `[n]` by number of tokens `[n]`; `bounds` has the gate's smallest cosine by group."""

    tokens: NDArray[np.int64]
    cosines: NDArray[np.float64]
    groups: tuple[str, ...]
    bounds: dict[str, float]
    colour: str


def variant_colours(names: Sequence[str]) -> dict[str, str]:
    """A CSS variable for each variant: fp32 and int8 always have their own, others take turns."""
    others = [name for name in names if name not in _COLOURS]
    turns = {name: _EXTRA[place % len(_EXTRA)] for place, name in enumerate(others)}
    return {name: turns.get(name, name) for name in names}


def plot_errors(panels: Sequence[Sequence[ErrorRow]], key: str, label: str) -> str:
    """Histograms of 1 - cosine, each with its median and its gate; every panel has a log axis of its own."""
    with mpl.rc_context(_STYLE):
        counts = [len(rows) for rows in panels]
        figure = _figure(max(_HEIGHT, 64 * sum(counts) + 50 * len(panels)))
        grid = figure.add_gridspec(len(panels), 1, height_ratios=counts)
        for place, rows in enumerate(panels):
            _draw_distributions(_axes(figure, grid[place, 0]), rows)
        figure.supxlabel("1 − cosine, log scale: left is closer to the original", fontsize=11.5, color=_hex("muted"))
        return _svg(figure, key, label)


def plot_bars(panels: Mapping[str, Sequence[Bar]], key: str, label: str) -> str:
    """Panels of horizontal bars from zero, one panel under the other, each bar with its figure."""
    with mpl.rc_context(_STYLE):
        counts = [len(bars) for bars in panels.values()]
        figure = _figure(46 * sum(counts) + 50 * len(counts))
        grid = figure.add_gridspec(len(panels), 1, height_ratios=[count + 0.6 for count in counts])
        for place, (title, bars) in enumerate(panels.items()):
            axes = _axes(figure, grid[place, 0])
            heights = range(len(bars) - 1, -1, -1)
            axes.barh(heights, [bar.value for bar in bars], 0.62, color=[_hex(bar.colour) for bar in bars])
            top = max((bar.value for bar in bars), default=0) or 1
            for height, bar in zip(heights, bars, strict=True):
                axes.text(bar.value + 0.015 * top, height, bar.text, va="center", fontsize=11.5, color=_hex("ink"))
            axes.set_yticks(heights, [_short(bar.label) for bar in bars])
            axes.set(xlim=(0, 1.42 * top), ylim=(-0.55, len(bars) - 0.4), xticks=[])
            axes.spines["bottom"].set_visible(False)
            axes.axvline(0, color=_hex("muted"), linewidth=1)
            axes.set_title(title, loc="left", color=_hex("muted"))
        return _svg(figure, key, label)


def plot_layers(layers: Mapping[str, float], colour: str, key: str, label: str) -> str:
    """Signal to noise in dB of each quantized product in the order given; the lowest ones are named."""
    with mpl.rc_context(_STYLE):
        figure = _figure(_HEIGHT)
        axes = _axes(figure)
        places, values = np.arange(1, len(layers) + 1), np.array(list(layers.values()))
        span = max(float(np.ptp(values)), 2.0)
        low = values.min() - 0.3 * span
        axes.vlines(places, low, values, color=_hex(colour), alpha=0.25, linewidth=2)
        axes.scatter(places, values, s=26 if len(layers) < 80 else 10, color=_hex(colour), linewidth=0, zorder=3)
        median = float(np.median(values))
        axes.axhline(median, color=_hex("muted"), linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0.2, len(layers) + 0.8), ylim=(low, values.max() + 0.16 * span))
        lowest = np.argsort(values, kind="stable")[:_NAMED_LAYERS]
        axes.scatter(places[lowest], values[lowest], s=80, facecolor="none", edgecolor=_hex("ink"), linewidth=1.2)
        axes.grid(axis="y", color=_hex("grid"))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_xlabel(f"quantized product, in graph order\n{_lowest_named(values, list(layers), lowest)}")
        axes.set_title(f"signal to noise, dB (dashed: median {median:.1f})", loc="left", color=_hex("muted"))
        return _svg(figure, key, label)


def plot_tokens(points: TokenPoints, key: str, label: str) -> str:
    """Cosine against number of tokens, both so scaled that the crowd near 1 comes apart, groups by shape."""
    with mpl.rc_context(_STYLE):
        figure = _figure(_HEIGHT)
        axes = _axes(figure)
        errors = np.log10(np.maximum(1 - points.cosines, 10**_FLOOR))
        low, high = errors.min(), max([errors.max(), *(np.log10(1 - bound) for bound in points.bounds.values())])
        margin = _log_margin(low, high)
        axes.set_xscale("log", base=2)
        axes.set_ylim(high + margin, low - margin)  # downwards: the better cosine is on top
        _log_ticks(axes.yaxis, low - margin, high + margin, _cosine_text)
        _draw_points(axes, points, errors)
        _draw_bounds(axes, points)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("tokens, log scale")
        axes.set_title("cosine, log scale", loc="left", color=_hex("muted"))
        axes.grid(color=_hex("grid"))
        axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=2, handletextpad=0, columnspacing=1,
                    borderpad=0.2, markerscale=1.4, labelcolor=_hex("ink"))  # fmt: skip
        return _svg(figure, key, label)


def _draw_distributions(axes: Axes, rows: Sequence[ErrorRow]) -> None:
    logs = [np.log10(np.maximum(row.errors, 10**_FLOOR)) for row in rows]
    bases = range(len(rows) - 1, -1, -1)
    bounds = [np.log10(row.bound) for row in rows if row.bound]
    low, high = min(value.min() for value in logs), max([*(value.max() for value in logs), *bounds])
    bins = 24 / max(high - low, 0.4)
    for base, row, values in zip(bases, rows, logs, strict=True):
        _draw_distribution(axes, base, row, values, bins)
    margin = _log_margin(low, high)
    axes.set(xlim=(low - margin, high + margin), ylim=(-0.1, len(rows) + 0.02))
    axes.set_yticks([base + 0.32 for base in bases], [f"{_short(row.name)}\n{row.part}" for row in rows])
    _log_ticks(axes.xaxis, low - margin, high + margin, _error_text)
    axes.grid(axis="x", color=_hex("grid"))


def _draw_distribution(axes: Axes, base: int, row: ErrorRow, values: NDArray[np.float64], bins: float) -> None:
    """A histogram of decimal logarithms standing on `base`, `bins` to a decade, its gate dashed."""
    edges = np.arange(np.floor(values.min() * bins), np.floor(values.max() * bins) + 2) / bins
    heights = np.histogram(values, np.append(edges[:-1], edges[-1] + 1e-9))[0]
    heights = 0.68 * heights / heights.max()
    axes.stairs(heights + base, edges, baseline=base, fill=True, color=_hex(row.colour), alpha=0.35, linewidth=0)
    axes.stairs(heights + base, edges, baseline=base, color=_hex(row.colour), linewidth=1.4)
    axes.axhline(base, color=_hex("grid"), linewidth=1, zorder=0)
    median = float(np.median(values))
    axes.plot([median, median], [base, base + 0.74], color=_hex("ink"), linewidth=1.4)
    shown = scientific(10**median, 1) if median > _FLOOR else "0"
    axes.text(median, base + 0.78, shown, ha="center", fontsize=11, color=_hex("ink"))
    if row.bound:
        limit = float(np.log10(row.bound))
        axes.plot([limit, limit], [base, base + 0.5], color=_hex("muted"), linewidth=1.4, linestyle=(0, (3, 2)))
        axes.text(limit, base + 0.54, "gate", ha="center", fontsize=11, color=_hex("muted"))


def _log_ticks(axis: Axis, low: float, high: float, text: Callable[[float], str]) -> None:
    """Ticks on an axis of decimal logarithms: 1, 2 and 5 in a short range, else at most seven powers of ten."""
    decades = np.arange(max(np.floor(low), _FLOOR), np.ceil(high) + 1)
    if high - low < 2.2:
        places = (decades[:, None] + np.log10([1, 2, 5])).ravel()
    else:
        places = decades[:: max(1, -(-len(decades) // 7))]
    places = places[(places >= low) & (places <= high)]
    axis.set_ticks(places, labels=[text(place) for place in places])


def _log_margin(low: float, high: float) -> float:
    """Room around the data for texts, and enough of it that two ticks fall into the narrowest range."""
    return max(0.08 * (high - low), (0.8 - (high - low)) / 2)


def _error_text(place: float) -> str:
    """10 to the power of `place`; the lowest possible place stands for everything below, zero included."""
    return "0" if place <= _FLOOR else scientific(10**place, 1)


def _cosine_text(place: float) -> str:
    if place < -_MAX_DECIMALS:
        return "1" if place <= _FLOOR else f"1 − {scientific(10**place, 1)}"
    return f"{1 - 10**place:.{max(0, -int(np.floor(place + 1e-9)))}f}"


def _lowest_named(values: NDArray[np.float64], names: Sequence[str], lowest: NDArray[np.intp]) -> str:
    named = [f"{_short(names[place], 48)} {values[place]:.1f}" for place in lowest]
    return "lowest: " + (", " if sum(map(len, named)) < 60 else "\n").join(named)


def _draw_points(axes: Axes, points: TokenPoints, heights: NDArray[np.float64]) -> None:
    groups, colour = np.array(points.groups), _hex(points.colour)
    looks: dict[str, dict[str, Any]] = {
        PLAIN: {"marker": "o", "s": 17, "color": colour, "alpha": 0.55, "linewidth": 0},
        HARD: {"marker": "D", "s": 19, "facecolor": "none", "edgecolor": colour, "linewidth": 1},
    }
    for group, look in looks.items():
        chosen = groups == group
        if chosen.any():
            axes.scatter(points.tokens[chosen], heights[chosen], label=f"{group} texts", **look)


def _draw_bounds(axes: Axes, points: TokenPoints) -> None:
    for group, bound in points.bounds.items():
        place = float(np.log10(1 - bound))
        axes.axhline(place, color=_hex("muted"), linewidth=1.2, linestyle=(0, (4, 3)))
        below = bound < max(points.bounds.values())  # apart from the label of the other one
        axes.annotate(f"gate, {group} texts", (0.995, place), xycoords=axes.get_yaxis_transform(),
                      xytext=(0, -4 if below else 4), textcoords="offset points", va="top" if below else "bottom",
                      ha="right", fontsize=11, color=_hex("muted"))  # fmt: skip


def scientific(value: float, digits: int = 2) -> str:
    """A positive number as 2.6×10⁻⁷ with `digits` significant digits."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return power(int(exponent)) if float(mantissa) == 1 else f"{mantissa}×{power(int(exponent))}"


def power(exponent: int) -> str:
    """A power of ten, with the exponent in Unicode superscripts."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _short(name: str, limit: int = 16) -> str:
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-(limit // 2) :]}"


def _hex(name: str) -> str:
    return f"#1000{_COLOURS.index(name):02x}"


def _figure(height: int) -> Figure:
    return Figure((_WIDTH / 72, height / 72), layout="constrained")


def _axes(figure: Figure, place: SubplotSpec | None = None) -> Axes:
    axes: Axes = figure.add_subplot() if place is None else figure.add_subplot(place)
    axes.tick_params(axis="x", colors=_hex("muted"))
    axes.tick_params(axis="y", colors=_hex("ink"))
    axes.spines[:].set_color(_hex("muted"))
    axes.xaxis.label.set_color(_hex("muted"))
    axes.yaxis.label.set_color(_hex("muted"))
    return axes


def _svg(figure: Figure, key: str, label: str) -> str:
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
