"""Figures that say how close a variant's vectors are to the original's, and the gate they must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...artifacts.constants import NER, SENTENCE_EMBEDDING, SPACY, SUMMARIZATION, TRANSFORMERS
from ...artifacts.errors import BuildError
from ...artifacts.gates import gate_misses
from ..texts import PLAIN

# The gates that variants are held to where the configuration names no others, by task and engine.
DEFAULT_GATES: dict[tuple[str, str], dict[str, dict[str, float]]] = {
    (SENTENCE_EMBEDDING, TRANSFORMERS): {
        "fp32": {"max_abs": 1e-5, "token_mismatches": 0},
        "int8": {
            "cosine_min": 0.997,
            "cosine_mean": 0.999,
            "cosine_min_hard": 0.99,
            "cosine_mean_hard": 0.997,
            "token_mismatches": 0,
        },
    },
    (NER, TRANSFORMERS): {
        "fp32": {"differing": 0, "score_max_abs": 1e-5, "token_mismatches": 0},
        "int8": {"entity_f1": 0.97, "token_mismatches": 0},
    },
    (NER, SPACY): {"fp32": {"differing": 0, "token_mismatches": 0}},
    (SUMMARIZATION, TRANSFORMERS): {
        "fp32": {"differing": 0, "token_mismatches": 0},
        "int8": {"rouge_l": 0.7, "sealed_same": 0.9, "token_mismatches": 0},
    },
}
# Every figure that some variant of a task is measured by; FORMAT.md explains them.
FIGURES: dict[str, frozenset[str]] = {
    SENTENCE_EMBEDDING: frozenset(
        {
            "max_abs",
            "token_mismatches",
            "neighbours",
            "nearest",
            *(f"cosine_{name}{group}" for name in ("min", "p01", "p05", "mean") for group in ("", "_hard")),
        }
    ),
    NER: frozenset({"differing", "entity_f1", "score_max_abs", "token_mismatches"}),
    SUMMARIZATION: frozenset(
        {
            "differing",
            "ties",
            "rouge_1",
            "rouge_2",
            "rouge_l",
            "rouge_l_reference",
            "rouge_l_drop",
            "sealed_same",
            "token_mismatches",
        }
    ),
}
# Those that are measured on pairs of texts and summaries.
REFERENCE_FIGURES = frozenset({"rouge_l_reference", "rouge_l_drop"})
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


def check_gate(metrics: Mapping[str, float], gate: Mapping[str, float]) -> list[str]:
    """What falls short of the gate, in words; empty when everything holds.

    :raises BuildError: with the code `config` when the gate names a figure that does not exist.
    """
    if unknown := sorted(set(gate) - set(metrics)):
        raise BuildError("config", f"the gate names {', '.join(unknown)}", expected=", ".join(sorted(metrics)))
    return gate_misses(metrics, gate)


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
