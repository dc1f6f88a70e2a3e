"""Compare the rankings of a variant with those of the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The order of two documents counts only if their reference scores differ by more than this value, because the score of
# each may differ from the original's by 1e-5.
TIE = 2e-5
Scores = NDArray[np.floating]


def kendall_tau(a: Scores, b: Scores) -> float:
    """Return Kendall's tau-b of two lists of scores `[n]`, from -1 to 1; 1 if neither list orders any two documents.

    tau-b = (concordant - discordant) / sqrt((pairs - ties in a) * (pairs - ties in b)), Kendall 1945.
    """
    rows, columns = np.triu_indices(len(a), k=1)
    signs_a = np.sign(np.subtract(a[rows], a[columns], dtype=np.float64))
    signs_b = np.sign(np.subtract(b[rows], b[columns], dtype=np.float64))
    ordered = float(np.abs(signs_a).sum()) * float(np.abs(signs_b).sum())
    if ordered == 0:
        return 1.0 if not signs_a.any() and not signs_b.any() else 0.0
    return float((signs_a * signs_b).sum() / np.sqrt(ordered))


def is_same_order(reference: Scores, actual: Scores) -> bool:
    """Return whether all pairs of documents whose reference scores differ by more than `TIE` have the same order."""
    rows, columns = np.triu_indices(len(reference), k=1)
    gaps = np.subtract(reference[rows], reference[columns], dtype=np.float64)
    own = np.subtract(actual[rows], actual[columns], dtype=np.float64)
    return bool((np.sign(gaps) == np.sign(own))[np.abs(gaps) > TIE].all())


def ranking(scores: Scores) -> NDArray[np.intp]:
    """Return the indices of documents by descending score; documents of equal scores keep their order."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")


def rank_figures(reference: Sequence[Scores], actual: Sequence[Scores]) -> dict[str, float]:
    """Return the metrics `max_abs`, `order_differing`, `kendall_tau`, `kendall_tau_min` and `top_1` over all queries.

    :param reference: the original's scores of each query's documents.
    :param actual: the variant's scores.
    """
    taus = [kendall_tau(*pair) for pair in zip(reference, actual, strict=True)]
    pairs = list(zip(reference, actual, strict=True))
    return {
        "max_abs": max(float(np.abs(np.subtract(a, b, dtype=np.float64)).max()) for a, b in pairs),
        "order_differing": float(sum(not is_same_order(a, b) for a, b in pairs)),
        "kendall_tau": float(np.mean(taus)),
        "kendall_tau_min": min(taus),
        "top_1": float(np.mean([a[ranking(b)[0]] >= a.max() - TIE for a, b in pairs])),
    }
