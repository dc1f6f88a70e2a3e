"""The headline metrics of an artifact, as the model card and the command line display them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .family import Family, metrics_among

Figures = Mapping[str, float | None]


def headlines(family: Family, variants: Iterable[Figures]) -> dict[str, str]:
    """Return the titles of the headline metrics by name, in the order of declaration.

    Metrics that were measured for no variant are left out.
    """
    measured = {name for figures in variants for name, value in figures.items() if value is not None}
    return {metric.name: metric.title for metric in metrics_among(family.metrics, measured) if metric.title}


def headline(family: Family, figures: Figures, name: str) -> str:
    """Return the value of a headline metric as text; the empty string if the metric was not measured."""
    value, metric = figures.get(name), family.metric(name)
    return "" if value is None or metric is None else format(value, metric.format)


def headline_row(family: Family, figures: Figures) -> str:
    """Format all headline metrics of one variant in one line: `differing 0, entity F1 1.00000`."""
    return ", ".join(
        f"{title} {headline(family, figures, name)}" for name, title in headlines(family, [figures]).items()
    )
