"""The picture of a run over named entities: ner.png and ner.svg."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.figure import SubFigure

from .bars import SOFT, STYLE, Panel, draw_panel, label_contenders
from .ner_contenders import SPACY, TOKEN_CLASSIFIER
from .ner_results import GROUPS, NerConditions, NerResults, NerRow
from .report import counted, megabytes, rate, seconds
from .results import COLD, PEAK_FIRST, PEAK_LONG, WORDS, WORDS_CPU

_SPEED = (
    Panel("Words per second", "longer is better", WORDS, rate),
    Panel("Words per CPU second", "longer is better", WORDS_CPU, rate),
    Panel("Cold start to the first answer", "seconds, shorter is better", COLD, seconds),
)
_PANELS = {
    SPACY: (*_SPEED, Panel("Peak memory, long document", "MB, shorter is better", PEAK_LONG, megabytes)),
    TOKEN_CLASSIFIER: (
        *_SPEED,
        Panel("Peak memory to the first answer", "MB, shorter is better", PEAK_FIRST, megabytes),
    ),
}
_ROW_INCHES = 0.42
_HEAD_INCHES = 1.6


def draw(results: NerResults, folder: Path) -> None:
    """Write both files to the folder."""
    groups = {name: [row for row in results.group(name) if row.figures] for name in results.conditions.subjects}
    heights = [_HEAD_INCHES + _ROW_INCHES * max(3, len(rows)) for rows in groups.values()]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(17, 1.0 + sum(heights)), dpi=140, facecolor="white")
        parts = canvas.subfigures(len(groups) + 1, 1, height_ratios=[1.0, *heights], squeeze=False)[:, 0]
        _head(parts[0], results.conditions)
        for part, (name, rows), height in zip(parts[1:], groups.items(), heights, strict=True):
            _draw_group(part, name, rows, height, results.conditions)
        for suffix in ("png", "svg"):
            metadata = {"Date": None} if suffix == "svg" else None
            canvas.savefig(folder / f"ner.{suffix}", metadata=metadata)


def _draw_group(part: SubFigure, name: str, rows: list[NerRow], height: float, conditions: NerConditions) -> None:
    axes = part.subplots(1, len(_PANELS[name]), sharey=True)
    for index, panel in zip(axes, _PANELS[name], strict=True):
        draw_panel(index, panel, rows)
    label_contenders(axes[0], rows, [""] * len(rows))
    part.subplots_adjust(left=0.205, right=0.99, top=1 - 1.3 / height, bottom=0.1 / height, wspace=0.06)
    subject = conditions.subjects[name]
    long = f"; a long document of {subject.long_words:,} words" if subject.long_words else ""
    texts = f"{subject.texts:,} texts of {subject.words / subject.texts:.0f} words on average{long}"
    part.text(0.02, 1 - 0.45 / height, f"{GROUPS[name]}: {subject.original}", fontsize=13, fontweight="bold")
    part.text(0.02, 1 - 0.68 / height, texts, fontsize=9.5, color=SOFT)


def _head(part: SubFigure, found: NerConditions) -> None:
    flags = ", ".join(flag for flag in found.instruction_set if flag != "fma")
    part.text(0.02, 0.52, "Named entities on the CPU", fontsize=16, fontweight="bold")
    part.text(
        0.02,
        0.18,
        f"{found.cpu} ({flags}), {counted(found.cpus, 'CPU')}, {found.date}; medians of "
        f"{counted(found.rounds, 'round')}, with a line from the lowest to the highest",
        fontsize=9.5,
        color=SOFT,
    )
