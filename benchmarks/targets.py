"""Ratios of two contenders and their targets. A missed target is reported, but is not an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MET, MISSED, UNKNOWN, NO_TARGET = "met", "missed", "not measured", "no target"
# The target for the median of the paired ratios of speed between this release and an earlier one
PAIRED_MINIMUM = 0.97


@dataclass(frozen=True)
class Ratio:
    """The ratio of a metric of two contenders (`left` / `right`); a higher ratio is better for this project.

    `minimum` is the target; a ratio without a target (None) is only displayed. If `strict`, the ratio must exceed the
    target.
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
    """Return `MET`, `MISSED`, `UNKNOWN` or `NO_TARGET` for the value of a ratio."""
    if value is None:
        return UNKNOWN
    if minimum is None:
        return NO_TARGET
    return MET if value > minimum or (value == minimum and not strict) else MISSED
