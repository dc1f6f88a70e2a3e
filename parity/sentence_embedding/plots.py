"""The plots of the report on sentence embeddings, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from numpy.typing import NDArray

from ..drawing import HEIGHT, STYLE, hex_of, new_axes, new_figure, scientific, short, to_svg
from ..texts import HARD, PLAIN

# The smallest displayed decimal logarithm of 1 - cosine, which is the resolution of float64. It also stands for an
# error of 0.
_FLOOR = -16.0
_MAX_DECIMALS = 6  # the maximum number of decimals of a cosine in a tick label


@dataclass(frozen=True, eq=False)
class ErrorRow:
    """One distribution of 1 - cosine: `errors` float64 `[n]`, and the largest error that the gate allows, or None."""

    name: str
    part: str
    color: str
    errors: NDArray[np.float64]
    bound: float | None


@dataclass(frozen=True, eq=False)
class TokenPoints:
    """The cosines `[n]` and token counts `[n]` of n texts; `bounds` has the minimum cosine of the gate by group."""

    tokens: NDArray[np.int64]
    cosines: NDArray[np.float64]
    groups: tuple[str, ...]
    bounds: dict[str, float]
    color: str


def plot_errors(panels: Sequence[Sequence[ErrorRow]], key: str, label: str) -> str:
    """Plot histograms of 1 - cosine with median and gate; every panel has its own logarithmic axis.

    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    :returns: an SVG element.
    """
    with mpl.rc_context(STYLE):
        counts = [len(rows) for rows in panels]
        figure = new_figure(max(HEIGHT, 64 * sum(counts) + 50 * len(panels)))
        grid = figure.add_gridspec(len(panels), 1, height_ratios=counts)
        for index, rows in enumerate(panels):
            _draw_distributions(new_axes(figure, grid[index, 0]), rows)
        figure.supxlabel("1 − cosine, log scale: left is closer to the original", fontsize=11.5, color=hex_of("muted"))
        return to_svg(figure, key, label)


def plot_tokens(points: TokenPoints, key: str, label: str) -> str:
    """Plot the cosine by number of tokens, with a logarithmic scale of 1 - cosine; groups differ by marker.

    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    :returns: an SVG element.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(HEIGHT)
        axes = new_axes(figure)
        errors = np.log10(np.maximum(1 - points.cosines, 10**_FLOOR))
        low, high = errors.min(), max([errors.max(), *(np.log10(1 - bound) for bound in points.bounds.values())])
        margin = _log_margin(low, high)
        axes.set_xscale("log", base=2)
        axes.set_ylim(high + margin, low - margin)  # inverted: the highest cosine is at the top
        _log_ticks(axes.yaxis, low - margin, high + margin, _cosine_text)
        _draw_points(axes, points, errors)
        _draw_bounds(axes, points)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("tokens, log scale")
        axes.set_title("cosine, log scale", loc="left", color=hex_of("muted"))
        axes.grid(color=hex_of("grid"))
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.02, 0.985),
            ncols=2,
            handletextpad=0,
            columnspacing=1,
            borderpad=0.2,
            markerscale=1.4,
            labelcolor=hex_of("ink"),
        )
        return to_svg(figure, key, label)


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
    axes.set_yticks([base + 0.32 for base in bases], [f"{short(row.name)}\n{row.part}" for row in rows])
    _log_ticks(axes.xaxis, low - margin, high + margin, _error_text)
    axes.grid(axis="x", color=hex_of("grid"))


def _draw_distribution(axes: Axes, base: int, row: ErrorRow, values: NDArray[np.float64], bins: float) -> None:
    """Draw a histogram of decimal logarithms on the baseline `base`, with `bins` bins per decade, median and gate."""
    edges = np.arange(np.floor(values.min() * bins), np.floor(values.max() * bins) + 2) / bins
    heights = np.histogram(values, np.append(edges[:-1], edges[-1] + 1e-9))[0]
    heights = 0.68 * heights / heights.max()
    axes.stairs(heights + base, edges, baseline=base, fill=True, color=hex_of(row.color), alpha=0.35, linewidth=0)
    axes.stairs(heights + base, edges, baseline=base, color=hex_of(row.color), linewidth=1.4)
    axes.axhline(base, color=hex_of("grid"), linewidth=1, zorder=0)
    median = float(np.median(values))
    axes.plot([median, median], [base, base + 0.74], color=hex_of("ink"), linewidth=1.4)
    shown = scientific(10**median, 1) if median > _FLOOR else "0"
    axes.text(median, base + 0.78, shown, ha="center", fontsize=11, color=hex_of("ink"))
    if row.bound:
        limit = float(np.log10(row.bound))
        axes.plot([limit, limit], [base, base + 0.5], color=hex_of("muted"), linewidth=1.4, linestyle=(0, (3, 2)))
        axes.text(limit, base + 0.54, "gate", ha="center", fontsize=11, color=hex_of("muted"))


def _log_ticks(axis: Axis, low: float, high: float, text: Callable[[float], str]) -> None:
    """Set the ticks of an axis of decimal logarithms: 1, 2 and 5 for a short range, else up to seven powers of ten."""
    decades = np.arange(max(np.floor(low), _FLOOR), np.ceil(high) + 1)
    if high - low < 2.2:
        exponents = (decades[:, None] + np.log10([1, 2, 5])).ravel()
    else:
        exponents = decades[:: max(1, -(-len(decades) // 7))]
    exponents = exponents[(exponents >= low) & (exponents <= high)]
    axis.set_ticks(exponents, labels=[text(exponent) for exponent in exponents])


def _log_margin(low: float, high: float) -> float:
    """Return the margin around the data on a logarithmic axis: room for labels, and for two ticks in a narrow range."""
    return max(0.08 * (high - low), (0.8 - (high - low)) / 2)


def _error_text(exponent: float) -> str:
    """Format the error `10 ** exponent`; exponents up to `_FLOOR` stand for an error of 0."""
    return "0" if exponent <= _FLOOR else scientific(10**exponent, 1)


def _cosine_text(exponent: float) -> str:
    if exponent < -_MAX_DECIMALS:
        return "1" if exponent <= _FLOOR else f"1 − {scientific(10**exponent, 1)}"
    return f"{1 - 10**exponent:.{max(0, -int(np.floor(exponent + 1e-9)))}f}"


def _draw_points(axes: Axes, points: TokenPoints, heights: NDArray[np.float64]) -> None:
    groups, color = np.array(points.groups), hex_of(points.color)
    looks: dict[str, dict[str, Any]] = {
        PLAIN: {"marker": "o", "s": 17, "color": color, "alpha": 0.55, "linewidth": 0},
        HARD: {"marker": "D", "s": 19, "facecolor": "none", "edgecolor": color, "linewidth": 1},
    }
    for group, look in looks.items():
        chosen = groups == group
        if chosen.any():
            axes.scatter(points.tokens[chosen], heights[chosen], label=f"{group} texts", **look)


def _draw_bounds(axes: Axes, points: TokenPoints) -> None:
    for group, bound in points.bounds.items():
        height = float(np.log10(1 - bound))
        axes.axhline(height, color=hex_of("muted"), linewidth=1.2, linestyle=(0, (4, 3)))
        # The label of the lower threshold is below its line, so that the labels of two thresholds do not overlap
        below = bound < max(points.bounds.values())
        axes.annotate(
            f"gate, {group} texts",
            (0.995, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, -4 if below else 4),
            textcoords="offset points",
            va="top" if below else "bottom",
            ha="right",
            fontsize=11,
            color=hex_of("muted"),
        )
