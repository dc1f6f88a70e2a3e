"""Compare the rankings by Rust with the rankings by Python, for every variant of an artifact.

The queries and documents are those of the parity stage, followed by queries and documents drawn from the parity texts
with a fixed seed: short, long and empty texts in any script. tests/parity/test_rerank.py compares Python with the
original.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx_ml_bridge import Model, Ranked, Reranker
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.runtime.rank_agreement import TIE, is_same_order
from rich.console import Console
from rich.table import Table

from ..environment import Failed, child_environment

if TYPE_CHECKING:
    from onnx_ml_bridge.parity.rerank.inputs import RerankInput

_SEED = 20261126
_DOCUMENTS = 20
# The largest accepted difference between a score by Rust and by Python, which run the same graph
TOLERANCE = 1e-6
_DETAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class Comparison:
    """The rankings by Rust compared with the rankings by Python.

    `max_abs` is the largest difference of a score, `order_differing` the number of queries whose documents are in
    another order, and `truncated_differing` the number of pairs that only one of the languages truncated. `truncated`
    is the number of pairs that Python truncated.
    """

    queries: int
    pairs: int
    truncated: int
    max_abs: float
    order_differing: int
    truncated_differing: int

    @property
    def is_same(self) -> bool:
        """Whether no score differs by more than `TOLERANCE`, and all orders and truncations are the same."""
        return self.max_abs <= TOLERANCE and not self.order_differing and not self.truncated_differing


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--artifact", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the artifacts")
    add("--rust", type=Path, required=True, metavar="BINARY", help="the crate's command, a release build")
    add("--queries", type=int, default=200, metavar="N", help="number of queries (default: %(default)s)")


def run(options: argparse.Namespace) -> bool:
    """Compare the rankings and print a table.

    :return: whether the rankings by Rust equal the rankings by Python for every variant.
    :raises Failed: if the Rust command fails, or refuses a query.
    """
    queries = rerank_queries(options.queries)
    comparisons = {
        (folder.name, variant): compare(
            python_rankings(folder, variant, queries), rust_rankings(options.rust, folder, variant, queries)
        )
        for folder in options.artifact
        for variant in sorted(read_artifact(folder).manifest.variants)
    }
    _print(comparisons)
    return all(comparison.is_same for comparison in comparisons.values())


def rerank_queries(count: int) -> list[RerankInput]:
    """Return `count` queries with their documents; every call returns the same ones."""
    from onnx_ml_bridge.parity.rerank.inputs import RerankInput, rerank_inputs
    from onnx_ml_bridge.parity.texts import parity_texts

    source, texts = random.Random(_SEED), parity_texts()
    drawn = (
        RerankInput(source.choice(texts), tuple(source.choice(texts) for _ in range(_DOCUMENTS))) for _ in range(count)
    )
    return [*rerank_inputs(), *drawn][:count]


def python_rankings(artifact: Path, variant: str, queries: Sequence[RerankInput]) -> list[list[Ranked]]:
    """Return the ranking of every query by the Python runtime."""
    reranker = Reranker.open(Model(artifact, variant=variant))
    return [reranker.rerank(entry.query, entry.documents) for entry in queries]


def rust_rankings(rust: Path, artifact: Path, variant: str, queries: Sequence[RerankInput]) -> list[list[Ranked]]:
    """Return the ranking of every query by the Rust command.

    :raises Failed: if the command fails, refuses a query, or does not print every document of every query once.
    """
    lines = "".join(json.dumps({"query": entry.query, "documents": entry.documents}) + "\n" for entry in queries)
    command = [str(rust), "rerank", "--model", str(artifact), "--variant", variant]
    done = subprocess.run(
        command, input=lines, capture_output=True, encoding="utf-8", check=False, env=child_environment()
    )
    if done.returncode != 0:
        refused = [line for line in done.stdout.splitlines() if line.startswith('{"error"')]
        detail = "\n".join([*refused, done.stderr])[:_DETAIL_CHARACTERS]
        raise Failed(f"rerank ended with exit status {done.returncode}", detail)
    answers = [json.loads(line)["ranking"] for line in done.stdout.splitlines()]
    rankings = [[Ranked(**each) for each in answer] for answer in answers]
    expected = [list(range(len(entry.documents))) for entry in queries]
    if [sorted(each.index for each in ranking) for ranking in rankings] != expected:
        raise Failed("rerank did not print every document of every query once")
    return rankings


def compare(expected: Sequence[Sequence[Ranked]], actual: Sequence[Sequence[Ranked]]) -> Comparison:
    """Compare rankings of the same queries and documents.

    Documents whose expected scores differ by `TIE` or less may be in any order. Scores are compared as float32.
    """
    differences, order_differing, truncated_differing = [0.0], 0, 0
    for expected_ranking, actual_ranking in zip(expected, actual, strict=True):
        scores, other = (_scores(ranking) for ranking in (expected_ranking, actual_ranking))
        differences.extend(np.abs(np.subtract(scores, other, dtype=np.float64)).tolist())
        descending = np.empty(len(scores), np.float32)
        descending[[each.index for each in actual_ranking]] = -np.arange(len(scores))
        order_differing += not is_same_order(scores, descending)
        truncated = (_truncated(ranking) for ranking in (expected_ranking, actual_ranking))
        truncated_differing += sum(a != b for a, b in zip(*truncated, strict=True))
    return Comparison(
        queries=len(expected),
        pairs=sum(map(len, expected)),
        truncated=sum(each.truncated for ranking in expected for each in ranking),
        max_abs=max(differences),
        order_differing=order_differing,
        truncated_differing=truncated_differing,
    )


def _scores(ranking: Sequence[Ranked]) -> np.ndarray:
    """Return the scores in the order of the documents, float32 `[n]`."""
    return np.array([each.score for each in sorted(ranking, key=lambda each: each.index)], np.float32)


def _truncated(ranking: Sequence[Ranked]) -> list[bool]:
    return [each.truncated for each in sorted(ranking, key=lambda each: each.index)]


def _print(comparisons: dict[tuple[str, str], Comparison]) -> None:
    columns = ("artifact", "variant", "queries", "pairs", "truncated", "max abs", "order differs", "truncation differs")
    table = Table(*columns, title=f"Rust against Python, ties up to {TIE:g}")
    for names, each in comparisons.items():
        counts = (each.queries, each.pairs, each.truncated)
        differing = (f"{each.max_abs:.1e}", str(each.order_differing), str(each.truncated_differing))
        table.add_row(*names, *(f"{count:,}" for count in counts), *differing)
    Console(width=120).print(table)
