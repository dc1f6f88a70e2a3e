"""The picture of a run: embedding.png and embedding.svg."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from .bars import SOFT, STYLE, Panel, draw_panel, label_contenders
from .contenders import ORIGINAL
from .report import counted, megabytes, rate, seconds
from .results import BULK, COLD, PEAK_BULK, Conditions, Results, Row

_PANELS = (
    Panel("One text a call", "texts/s, longer is better", "batch_1", rate),
    Panel("32 texts a call", "texts/s, longer is better", "batch_32", rate),
    Panel("Bulk, all texts in one call", "texts/s, longer is better", BULK, rate),
    Panel("Cold start to the first vector", "seconds, shorter is better", COLD, seconds),
    Panel("Peak memory with the bulk", "MB, shorter is better", PEAK_BULK, megabytes),
    Panel("Model on disk", "MB, shorter is better", None, megabytes),
)


def draw(results: Results, folder: Path) -> None:
    """Write both files to the folder."""
    rows = [row for row in results.rows if row.figures]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(15, 2.6 + 0.84 * max(4, len(rows))), dpi=140, facecolor="white")
        axes = canvas.subplots(2, 3, sharey=True)
        for panel, index in zip(_PANELS, axes.flat, strict=True):
            draw_panel(index, panel, rows)
        label_contenders(axes[0, 0], rows, [_closeness(row) for row in rows])
        label_contenders(axes[1, 0], rows, [""] * len(rows))
        _head(canvas, results)
        for suffix in ("png", "svg"):
            metadata = {"Date": None} if suffix == "svg" else None
            canvas.savefig(folder / f"embedding.{suffix}", metadata=metadata)


def _closeness(row: Row) -> str:
    if row.name == ORIGINAL:
        return "the original"
    return "" if row.cosine_min is None else f"cosine ≥ {_rounded_down(row.cosine_min):.4f}"


def _rounded_down(value: float) -> float:
    """Four digits; an `at least` must not be rounded up, but for the noise of float32."""
    return int(value * 1e4 + 0.01) / 1e4


def _head(canvas: Canvas, results: Results) -> None:
    found = results.conditions
    height = canvas.get_size_inches()[1]
    canvas.subplots_adjust(
        left=0.185, right=0.985, top=1 - 1.75 / height, bottom=0.5 / height, wspace=0.06, hspace=0.32
    )
    title = f"Sentence embeddings on the CPU: {found.artifact}"
    canvas.text(0.02, 1 - 0.45 / height, title, fontsize=16, fontweight="bold")
    canvas.text(0.02, 1 - 0.78 / height, _subtitle(found), fontsize=9.5, color=SOFT)


def _subtitle(found: Conditions) -> str:
    flags = ", ".join(flag for flag in found.instruction_set if flag != "fma")
    return (
        f"{found.cpu} ({flags}), {found.threads} threads, {found.date}\n{found.texts} texts of {found.tokens_mean:.0f} "
        f"tokens on average; medians of {counted(found.rounds, 'round')}, with a line from the lowest to the highest"
    )
