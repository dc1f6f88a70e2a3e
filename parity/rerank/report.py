"""The parity report of rerankers, one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...artifacts.constants import EXACT
from ...artifacts.families.rerank import RERANK
from ...artifacts.manifest import Manifest
from ...runtime.rank_agreement import ranking
from ..page import Plot, Tile, figure, layer_plots, ratio_tiles, share, size_speed_plot, write_page
from ..proof import Proof
from .evaluation import RerankParity

_QUERIES = 8
_DOCUMENTS = 5
_EXCERPT = 120
_COST_NOTE = "The original is CrossEncoder of sentence-transformers, one query at a time. A guide, not a benchmark."


@dataclass(frozen=True)
class DocumentRow:
    """A document of a query: its beginning, the original's score, and rank and score by variant."""

    text: str
    score: str
    ranks: list[str]


@dataclass(frozen=True)
class QueryRow:
    """A query with its best documents in the original's order, and Kendall's tau by variant."""

    query: str
    taus: list[str]
    documents: list[DocumentRow]


def write_report(proof: Proof[RerankParity], manifest: Manifest, path: Path) -> None:
    """Write the report to `path` atomically. It needs no network and no other file.

    :param manifest: the manifest of the same build, with all compared variants.
    """
    parity, speeds = proof.parity, proof.speeds
    write_page(
        __package__,
        RERANK,
        parity,
        manifest,
        path,
        tiles=_tiles(parity, manifest, speeds),
        plots=_plots(parity, manifest, speeds),
        queries=query_rows(parity),
    )


def query_rows(parity: RerankParity) -> list[QueryRow]:
    """Return the queries with the lowest Kendall tau of any variant, in ascending order."""
    lowest = np.min([comparison.taus for comparison in parity.comparisons.values()], axis=0)
    return [_query_row(parity, index) for index in np.argsort(lowest, kind="stable")[:_QUERIES].tolist()]


def _query_row(parity: RerankParity, index: int) -> QueryRow:
    entry, scores = parity.inputs[index], parity.original[index].scores
    variants = [comparison.scores[index] for comparison in parity.comparisons.values()]
    orders = [ranking(own).tolist() for own in variants]
    documents = [
        DocumentRow(
            entry.documents[document][:_EXCERPT],
            figure(float(scores[document])),
            [
                f"{order.index(document) + 1} ({figure(float(own[document]))})"
                for order, own in zip(orders, variants, strict=True)
            ],
        )
        for document in ranking(scores)[:_DOCUMENTS].tolist()
    ]
    taus = [f"{comparison.taus[index]:.4f}" for comparison in parity.comparisons.values()]
    return QueryRow(entry.query[:_EXCERPT], taus, documents)


def _tiles(parity: RerankParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Tile]:
    pairs = sum(len(entry.documents) for entry in parity.inputs)
    tiles = [Tile(f"{len(parity.inputs):,}", "queries compared", f"{pairs:,} pairs of query and document")]
    for name, comparison in parity.comparisons.items():
        metrics = comparison.metrics
        if name == EXACT:
            tiles.append(Tile(figure(metrics["max_abs"]), f"{name}, largest difference", "of any score"))
        else:
            detail = f"first document kept: {share(metrics['top_1'])}"
            tiles.append(Tile(f"{metrics['kendall_tau']:.4f}", f"{name}, Kendall tau", detail))
    smaller = [name for name in parity.comparisons if name != EXACT]
    return [*tiles, *ratio_tiles((smaller or [EXACT])[0], manifest, speeds, "pairs")]


def _plots(parity: RerankParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Plot]:
    names = list(parity.comparisons)
    return [size_speed_plot(manifest, names, speeds, "pairs", _COST_NOTE), *layer_plots(manifest, names)]
