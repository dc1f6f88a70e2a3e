"""How figures are written for people, by their unit."""

from __future__ import annotations

from collections.abc import Callable


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


def ratio(value: float) -> str:
    """`4.6x` for a factor above 1, `1/8` for its inverse below, with two digits that count."""
    if value >= 1:
        return f"{value:.3g}x" if value >= 100 else f"{value:.2g}x"
    return f"1/{1 / value:.2g}" if value < 0.5 else f"{value:.2f}x"


def counted(number: int, what: str) -> str:
    """`1 round`, `5 rounds`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
