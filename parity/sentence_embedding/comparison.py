"""The metrics that compare the vectors of a variant with those of the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..texts import PLAIN

_NEIGHBORS = 10


@dataclass(frozen=True, eq=False)
class Comparison:
    """The comparison of one variant with the original on n texts.

    `cosines` and `differences` (the largest absolute difference of an element) are float64 `[n]`. FORMAT.md defines
    the `metrics`.
    """

    cosines: NDArray[np.float64]
    differences: NDArray[np.float64]
    metrics: dict[str, float]


def compare(
    original: NDArray[np.float32], variant: NDArray[np.float32], groups: Sequence[str], token_mismatches: int
) -> Comparison:
    """Compare vectors `[n, dim]`.

    :param groups: the group of every text, `plain` or `hard`.
    :param token_mismatches: the number of texts with a different number of tokens or truncation.
    """
    a, b = original.astype(np.float64), variant.astype(np.float64)
    cosines = _cosines(a, b)
    differences = np.abs(a - b).max(1)
    plain = np.array([group == PLAIN for group in groups])
    metrics = {"max_abs": float(differences.max()), "token_mismatches": float(token_mismatches)}
    metrics |= _cosine_metrics(cosines, plain) | _rank_agreement(a, b)
    return Comparison(cosines, differences, {name: _rounded(value) for name, value in metrics.items()})


def compare_shortened(
    original: NDArray[np.float32], variant: NDArray[np.float32], groups: Sequence[str]
) -> dict[str, float]:
    """Compare shorter vectors `[n, dimensions]` and return the metrics of this number of dimensions."""
    a, b = original.astype(np.float64), variant.astype(np.float64)
    cosines = _cosine_metrics(_cosines(a, b), np.array([group == PLAIN for group in groups]))
    kept = {name: value for name, value in cosines.items() if "_p0" not in name}
    metrics = {"max_abs": float(np.abs(a - b).max()), **kept}
    return {f"{name}_at_{original.shape[1]}": _rounded(value) for name, value in metrics.items()}


def _cosine_metrics(cosines: NDArray[np.float64], plain: NDArray[np.bool_]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for suffix, chosen in (("", cosines[plain]), ("_hard", cosines[~plain])):
        if len(chosen):
            figures = {
                "min": chosen.min(),
                "p01": np.quantile(chosen, 0.01),
                "p05": np.quantile(chosen, 0.05),
                "mean": chosen.mean(),
            }
            metrics |= {f"cosine_{name}{suffix}": float(value) for name, value in figures.items()}
    return metrics


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: NDArray[np.float64] = (a * b).sum(1) / np.maximum(norms, 1e-30)
    # Static embeddings of a text without tokens are zero in the original too
    result[~a.any(1) & ~b.any(1)] = 1
    return result


def _rank_agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, float]:
    near_a, near_b = _nearest(a), _nearest(b)
    kept = [len(set(x) & set(y)) / len(x) for x, y in zip(near_a, near_b, strict=True)]
    return {"neighbours": float(np.mean(kept)), "nearest": float((near_a[:, 0] == near_b[:, 0]).mean())}


def _nearest(vectors: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices `[n, k]` of the nearest other texts by cosine, nearest first."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    similarity = np.round(unit @ unit.T, 6)  # so that rounding errors do not order texts of equal similarity
    np.fill_diagonal(similarity, -np.inf)
    neighbors = min(_NEIGHBORS, len(vectors) - 1)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :neighbors]


def _rounded(value: float) -> float:
    """Round a number to seven significant digits, so that rounding errors do not change the files of a build."""
    return float(f"{value:.7g}")
