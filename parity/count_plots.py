"""Histograms of counts for the reports, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from .drawing import HEIGHT, STYLE, hex_of, new_axes, new_figure, to_svg

_MAX_NAMED = 14  # maximum number of bars for which every bar has a tick label
_LABELLED = 24  # maximum number of bars for which every bar has its height written above it


def plot_counts(panels: Mapping[str, Sequence[int]], key: str, label: str) -> str:
    """Plot histograms of counts with the bins 0, 1, 2, 3 to 4, 5 to 8 and so on.

    :param panels: the counts by title; each title has a panel of its own.
    :param key: the prefix of the element ids, unique within the page.
    :param label: the accessible name of the drawing.
    :returns: an SVG element.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(HEIGHT)
        grid = figure.add_gridspec(len(panels), 1)
        for index, (title, counts) in enumerate(panels.items()):
            _draw_counts(new_axes(figure, grid[index, 0]), counts)
            figure.axes[-1].set_title(title, loc="left", color=hex_of("muted"))
        return to_svg(figure, key, label)


def count_bins(largest: int) -> list[int]:
    """Return the upper bound of every bin: 0, 1, 2, 4, 8, ... up to the first that is at least `largest`."""
    tops = [0, 1]
    while tops[-1] < largest:
        tops.append(2 * tops[-1])
    return tops


def _draw_counts(axes: Axes, counts: Sequence[int]) -> None:
    tops = count_bins(max(counts, default=0))
    heights = np.bincount(np.searchsorted(tops, counts), minlength=len(tops)) if counts else np.zeros(len(tops), int)
    indices = range(len(tops))
    axes.bar(indices, heights, 0.82, color=hex_of("original"), alpha=0.7)
    if len(tops) <= _LABELLED:
        for index, height in zip(indices, heights, strict=True):
            axes.text(
                index,
                height,
                f" {height:,}" if height else "",
                ha="center",
                va="bottom",
                fontsize=10.5,
                color=hex_of("ink"),
            )
    every = -(-len(tops) // _MAX_NAMED)
    axes.set_xticks(indices[::every], [_short_count(top) for top in tops[::every]])
    axes.set(ylim=(0, 1.2 * max(heights.max(), 1)), xlim=(-0.6, len(tops) - 0.4), yticks=[])


def _short_count(count: int) -> str:
    """Format a count in binary units, such as 512, 1k or 2M."""
    for size, unit in ((1 << 20, "M"), (1 << 10, "k")):
        if count >= size:
            return f"{count // size}{unit}"
    return str(count)
