"""The figures that people read about an artifact first: in the model card, in the report and on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .family import Family

Figures = Mapping[str, float | None]


def headlines(family: Family, variants: Iterable[Figures]) -> dict[str, str]:
    """Names and titles of the headline metrics that any of the variants has, in their order."""
    measured = {name for figures in variants for name, value in figures.items() if value is not None}
    return {metric.name: metric.title for metric in family.metrics if metric.title and metric.name in measured}


def headline(family: Family, figures: Figures, name: str) -> str:
    """A headline figure as it is written; empty where there is none."""
    value, metric = figures.get(name), family.metric(name)
    return "" if value is None or metric is None else format(value, metric.format)


def headline_row(family: Family, figures: Figures) -> str:
    """All headline figures of one variant in one line: `differing 0, entity F1 1.00000`."""
    return ", ".join(
        f"{title} {headline(family, figures, name)}" for name, title in headlines(family, [figures]).items()
    )
