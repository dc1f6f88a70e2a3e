"""Ratios of two contenders and their targets. A missed target is reported and is no error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MET, MISSED, UNKNOWN, NO_TARGET = "met", "missed", "not measured", "no target"
# Of the median of paired ratios of speed, an earlier release against this one
PAIRED_MINIMUM = 0.97


@dataclass(frozen=True)
class Ratio:
    """The metric of `left` over that of `right`, arranged so that more is better for this project.

    `minimum` is the target, None for a ratio that is only shown; `strict` requires more than the target.
    """

    name: str
    metric: str
    left: str
    right: str
    minimum: float | None = None
    strict: bool = False


@dataclass(frozen=True)
class Target:
    """An evaluated ratio: both medians, their ratio and the verdict."""

    name: str
    metric: str
    left: float | None
    right: float | None
    value: float | None
    minimum: float | None
    verdict: str


def evaluate(ratio: Ratio, medians: Mapping[str, Mapping[str, float]]) -> Target:
    """Return the ratio's value and verdict, from the medians of every contender by metric."""
    left, right = (medians.get(name, {}).get(ratio.metric) for name in (ratio.left, ratio.right))
    value = left / right if left and right else None
    verdict = verdict_of(value, ratio.minimum, strict=ratio.strict)
    return Target(ratio.name, ratio.metric, left, right, value, ratio.minimum, verdict)


def verdict_of(value: float | None, minimum: float | None, *, strict: bool = False) -> str:
    """Return whether a ratio meets its target."""
    if value is None:
        return UNKNOWN
    if minimum is None:
        return NO_TARGET
    return MET if value > minimum or (value == minimum and not strict) else MISSED
