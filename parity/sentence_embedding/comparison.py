"""Figures that say how close a variant's vectors are to the original's, and the gate they must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..texts import PLAIN

_NEIGHBOURS = 10


@dataclass(frozen=True)
class Comparison:
    """One variant against the original on n texts.

    `cosines` and `differences` (largest absolute difference of an element) are float64 `[n]`; `metrics` are the figures
    that gates speak of, each explained in FORMAT.md or by its name: `neighbours` is the mean share of the ten nearest
    texts that stay among the ten nearest, `nearest` the share of texts whose nearest one stays the same.
    """

    cosines: NDArray[np.float64]
    differences: NDArray[np.float64]
    metrics: dict[str, float]


def compare(
    original: NDArray[np.float32], variant: NDArray[np.float32], groups: Sequence[str], token_mismatches: int
) -> Comparison:
    """Compare vectors `[n, dim]`; `groups` says for each text whether it is `plain` or `hard`."""
    a, b = original.astype(np.float64), variant.astype(np.float64)
    cosines = _cosines(a, b)
    differences = np.abs(a - b).max(1)
    plain = np.array([group == PLAIN for group in groups])
    metrics = {"max_abs": float(differences.max()), "token_mismatches": float(token_mismatches)}
    for suffix, chosen in (("", cosines[plain]), ("_hard", cosines[~plain])):
        if len(chosen):
            figures = {
                "min": chosen.min(),
                "p01": np.quantile(chosen, 0.01),
                "p05": np.quantile(chosen, 0.05),
                "mean": chosen.mean(),
            }
            metrics |= {f"cosine_{name}{suffix}": float(value) for name, value in figures.items()}
    metrics |= _rank_agreement(a, b)
    return Comparison(cosines, differences, {name: _rounded(value) for name, value in metrics.items()})


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: NDArray[np.float64] = (a * b).sum(1) / np.maximum(norms, 1e-30)
    return result


def _rank_agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, float]:
    near_a, near_b = _nearest(a), _nearest(b)
    kept = [len(set(x) & set(y)) / len(x) for x, y in zip(near_a, near_b, strict=True)]
    return {"neighbours": float(np.mean(kept)), "nearest": float((near_a[:, 0] == near_b[:, 0]).mean())}


def _nearest(vectors: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the nearest other texts by cosine, nearest first, `[n, k]`; equal texts count once."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    similarity = np.round(unit @ unit.T, 6)  # so that noise decides no tie between equal texts
    np.fill_diagonal(similarity, -np.inf)
    neighbours = min(_NEIGHBOURS, len(vectors) - 1)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]


def _rounded(value: float) -> float:
    """Seven significant digits: enough to judge, and the same from run to run."""
    return float(f"{value:.7g}")
