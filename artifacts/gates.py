"""Gates: the thresholds a variant's figures are held to."""

from __future__ import annotations

from collections.abc import Mapping

# Figures that must not exceed their threshold; every other one must reach it.
UPPER_BOUNDS = frozenset({"differing", "max_abs", "rouge_l_drop", "score_max_abs", "ties", "token_mismatches"})


def gate_misses(metrics: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """What falls short of the gate, in words; empty when everything holds. Figures not measured are passed over."""
    misses = []
    for name, threshold in gate.items():
        if name not in metrics:
            continue
        upper = name in UPPER_BOUNDS
        if not (metrics[name] <= threshold if upper else metrics[name] >= threshold):
            misses.append(f"{name} is {metrics[name]:.6g}, wanted {'<=' if upper else '>='} {threshold:.6g}")
    return misses
