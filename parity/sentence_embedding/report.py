"""The parity report of sentence embeddings: one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...artifacts.constants import EXACT
from ...artifacts.families.sentence_embedding import SENTENCE_EMBEDDING
from ...artifacts.manifest import Manifest
from ..drawing import variant_colors
from ..page import Plot, Tile, figure, layer_plots, ratio_tiles, size_speed_plot, write_page
from ..proof import Proof
from ..texts import HARD, PLAIN
from . import plots
from .evaluation import EmbeddingParity, worst_texts

_CUT_AT = 200  # maximum number of characters of a displayed text, as in `worst_texts`
_COST_NOTE = "The original is sentence-transformers. A rough measurement, not a benchmark."


def write_report(proof: Proof[EmbeddingParity], manifest: Manifest, path: Path) -> None:
    """Write the self-contained report to `path` atomically.

    :param manifest: the manifest of the same build.
    """
    parity, speeds = proof.parity, proof.speeds
    write_page(
        __package__,
        SENTENCE_EMBEDDING,
        parity,
        manifest,
        path,
        tiles=_tiles(parity, manifest, speeds),
        plots=_plots(parity, manifest, speeds),
        worst={name: worst_texts(parity, name) for name in parity.comparisons},
        cut_at=_CUT_AT,
    )


def _tiles(parity: EmbeddingParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Tile]:
    plain = parity.groups.count(PLAIN)
    tiles = [Tile(str(len(parity.groups)), "texts compared", f"{plain} plain, {len(parity.groups) - plain} hard")]
    for name, comparison in parity.comparisons.items():
        if name == EXACT:
            largest = figure(comparison.metrics["max_abs"])
            tiles.append(Tile(largest, f"{name}, largest difference", "of any element of any vector"))
    smaller = [name for name in parity.comparisons if name != EXACT]
    for name in smaller[:1]:
        cosines = parity.comparisons[name].cosines
        lowest, mean = (figure(round(float(value), 7)) for value in (cosines.min(), cosines.mean()))
        tiles.append(Tile(lowest, f"{name}, lowest cosine", f"mean {mean}"))
    return [*tiles, *ratio_tiles((smaller or [EXACT])[0], manifest, speeds, "texts")]


def _plots(parity: EmbeddingParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Plot]:
    names = list(parity.comparisons)
    colors = variant_colors(names)
    drawn = [_error_plot(parity, manifest, colors), size_speed_plot(manifest, names, speeds, "texts", _COST_NOTE)]
    inexact = [name for name in names if name != EXACT]
    drawn += layer_plots(manifest, names)
    return drawn + [_token_plot(parity, manifest, name, colors[name]) for name in inexact]


def _error_plot(parity: EmbeddingParity, manifest: Manifest, colors: Mapping[str, str]) -> Plot:
    groups = np.array(parity.groups)
    exact: list[plots.ErrorRow] = []
    others: list[plots.ErrorRow] = []
    for name, comparison in parity.comparisons.items():
        bounds = _cosine_bounds(manifest, name)
        parts = {"all": groups == groups} if name == EXACT else {kind: groups == kind for kind in (PLAIN, HARD)}
        for kind, chosen in parts.items():
            bound = 1 - bounds[kind] if kind in bounds else None
            part = f"{kind}, {int(chosen.sum())}"
            if chosen.any():
                row = plots.ErrorRow(name, part, colors[name], 1 - comparison.cosines[chosen], bound)
                (exact if name == EXACT else others).append(row)
    svg = plots.plot_errors([rows for rows in (exact, others) if rows], "errors", "Histograms of 1 minus cosine")
    return Plot.of("Distance from the original", "The vertical line is the median. Every panel has its own axis.", svg)


def _token_plot(parity: EmbeddingParity, manifest: Manifest, name: str, color: str) -> Plot:
    points = plots.TokenPoints(
        np.array(parity.original.tokens),
        parity.comparisons[name].cosines,
        tuple(parity.groups),
        _cosine_bounds(manifest, name),
        color,
    )
    svg = plots.plot_tokens(points, f"tokens-{name}", f"Cosine of {name} by number of tokens")
    cut = sum(parity.original.truncated)
    note = f"Every point is a text; {cut or 'none'} of them {'was' if cut < 2 else 'were'} cut to the model's limit."
    return Plot.of(f"{name}: cosine by length", note, svg)


def _cosine_bounds(manifest: Manifest, variant: str) -> dict[str, float]:
    gate = manifest.variants[variant].gate
    names = {PLAIN: "cosine_min", HARD: "cosine_min_hard"}
    # A threshold of 1 is left out: the axis of the plot is logarithmic in 1 - cosine and cannot display a cosine of 1
    return {group: gate[name] for group, name in names.items() if gate.get(name, 1) < 1}
