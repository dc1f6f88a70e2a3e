"""Format figures as text, depending on their unit."""

from __future__ import annotations

from collections.abc import Callable

from .workload import SPEED, Metric

NOTHING = "–"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value:.3f} s"


FORMATS: dict[str, Callable[[float], str]] = {
    "rate": _rate,
    "seconds": _seconds,
    "milliseconds": lambda value: f"{value:.1f} ms",
    "bytes": lambda value: f"{value / 1e6:,.0f} MB",
    "count": lambda value: f"{value:,.0f}",
    "cosine": lambda value: f"{value:.6f}",
}


def factor(metric: Metric, value: float, reference: float) -> str:
    """Format the ratio of a metric's value to the value of the reference, as `ratio` does.

    For durations in the section `SPEED`, the ratio is inverted, so that a higher ratio is faster. The result is empty
    if neither direction of the metric is better.
    """
    if metric.higher_is_better is None or not value or not reference:
        return ""
    is_duration_of_speed = metric.section == SPEED and not metric.higher_is_better
    return ratio(reference / value if is_duration_of_speed else value / reference)


def ratio(value: float) -> str:
    """Format a ratio with about two significant digits: `4.6x`, `0.75x`, or `1/8` for a ratio below 1/2."""
    if value < 0.5:
        return f"1/{_digits(1 / value)}"
    return f"{value:.2f}x" if value < 1 else f"{_digits(value)}x"


def counted(number: int, what: str) -> str:
    """Format a number with a noun: `1 round`, `5 rounds`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
