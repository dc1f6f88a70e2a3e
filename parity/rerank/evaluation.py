"""Compare the scores of every variant with those of the original."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.rerank import RERANK, ExpectedScore, RerankCase
from ...runtime.rank_agreement import is_same_order, kendall_tau, rank_figures
from ...runtime.rerank import CrossEncoder, Scored
from ..proof import check_gate
from .inputs import RerankInput
from .original import OriginalScores

_SHOWN = 10
_EXCERPT = 200
_GOLDEN_CASES = 10
_SPEED_QUERIES = 8


@dataclass(frozen=True, eq=False)
class RerankComparison:
    """The comparison of a variant with the original: its scores and Kendall's tau by query, and its metrics."""

    scores: list[NDArray[np.float32]]
    taus: list[float]
    metrics: dict[str, float]


@dataclass(frozen=True)
class RerankParity:
    """The parity results: inputs, references, and the comparison and missed thresholds by variant."""

    inputs: list[RerankInput]
    original: list[OriginalScores]
    comparisons: dict[str, RerankComparison]
    failures: dict[str, list[str]]


def evaluate(
    inputs: Sequence[RerankInput],
    original: Sequence[OriginalScores],
    rerankers: Mapping[str, CrossEncoder],
    gates: Mapping[str, Mapping[str, float]],
) -> RerankParity:
    """Compare the scores of every variant with those of the original."""
    comparisons = {name: _compare(reranker, inputs, original) for name, reranker in rerankers.items()}
    failures = {name: check_gate(RERANK.metrics, each.metrics, gates[name]) for name, each in comparisons.items()}
    return RerankParity(list(inputs), list(original), comparisons, failures)


def evidence(parity: RerankParity) -> dict[str, Any]:
    """Return the content of parity.json without the machine and the versions."""
    return {
        "texts": {"queries": len(parity.inputs), "pairs": sum(len(entry.documents) for entry in parity.inputs)},
        "variants": {
            name: {"metrics": comparison.metrics, "lowest": lowest_queries(parity, name)}
            for name, comparison in parity.comparisons.items()
        },
    }


def lowest_queries(parity: RerankParity, variant: str) -> list[dict[str, Any]]:
    """Return the queries with the lowest Kendall tau, in ascending order."""
    comparison = parity.comparisons[variant]
    indices = np.argsort(comparison.taus, kind="stable")[:_SHOWN].tolist()
    return [
        {
            "query": parity.inputs[index].query[:_EXCERPT],
            "documents": len(parity.inputs[index].documents),
            "kendall_tau": _rounded(comparison.taus[index]),
            "is_same_order": is_same_order(parity.original[index].scores, comparison.scores[index]),
        }
        for index in indices
    ]


def golden_cases(parity: RerankParity) -> list[RerankCase]:
    """Return evenly spaced inputs and the last input with their references as golden cases."""
    every = max(1, len(parity.inputs) // _GOLDEN_CASES)
    chosen = sorted({*range(0, len(parity.inputs), every), len(parity.inputs) - 1})
    return [_case(parity.inputs[index], parity.original[index]) for index in chosen]


def pairs_per_second(score: Callable[[RerankInput], object], inputs: Sequence[RerankInput], rounds: int = 2) -> float:
    """Return the best speed of several rounds over some of the queries; a rough measurement for the report."""
    chosen = inputs[:_SPEED_QUERIES]
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        for entry in chosen:
            score(entry)
        best = max(best, sum(len(entry.documents) for entry in chosen) / (time.perf_counter() - started))
    return best


def _compare(
    reranker: CrossEncoder, inputs: Sequence[RerankInput], original: Sequence[OriginalScores]
) -> RerankComparison:
    answers = [reranker.score(entry.query, entry.documents) for entry in inputs]
    references, scores = [each.scores for each in original], [answer.scores for answer in answers]
    figures = rank_figures(references, scores)
    mismatches = sum(_mismatches(*pair) for pair in zip(original, answers, strict=True))
    metrics = {name: _rounded(value) for name, value in figures.items()} | {"token_mismatches": float(mismatches)}
    taus = [kendall_tau(*pair) for pair in zip(references, scores, strict=True)]
    return RerankComparison(scores, taus, metrics)


def _mismatches(original: OriginalScores, answer: Scored) -> int:
    expected = zip(original.tokens, original.truncated, strict=True)
    actual = zip(answer.token_counts.tolist(), answer.truncated.tolist(), strict=True)
    return sum(a != b for a, b in zip(expected, actual, strict=True))


def _case(entry: RerankInput, original: OriginalScores) -> RerankCase:
    scores = [float(str(score)) for score in original.scores]  # the shortest decimal that parses to the same float32
    expected = map(ExpectedScore, scores, original.tokens, original.truncated)
    return RerankCase(entry.query, entry.documents, tuple(expected))


def _rounded(value: float) -> float:
    """Round to seven significant digits, so that rounding errors do not change the files of a build."""
    return float(f"{value:.7g}")
