"""The parity report of named entities: one HTML file, for a person who decides about a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.family import Family
from ...artifacts.manifest import Manifest
from ...runtime.entity_agreement import LabelAgreement
from ..count_plots import plot_counts
from ..page import (
    Plot,
    Tile,
    figure,
    layer_plots,
    ratio_tiles,
    size_speed_plot,
    size_text,
    write_page,
)
from ..proof import Proof
from ..texts import PLAIN, text_group
from .diff import Piece, Sides, both_sides, excerpts, pieces
from .evaluation import NerInput, NerParity

_DIFFERING = 12
_SAMPLES = 8
_LONGEST_SAMPLE = 500
_GOLDEN_ANGLE = 137.508  # degrees; hues that far apart stay distinct however many there are
_FIRST_HUE = 212


@dataclass(frozen=True)
class LabelRow:
    """One label: how often the original finds it, and the counts of every variant."""

    label: str
    expected: int
    variants: list[LabelAgreement]


@dataclass(frozen=True)
class DifferingDocument:
    """A document whose entities differ; `number` counts documents from 1."""

    number: int
    tokens: int
    settings: str
    sides: Sides


@dataclass(frozen=True)
class Sample:
    """A document with its entities, cut down if it is long."""

    number: int
    settings: str
    pieces: list[Piece]


def write_ner_report(
    family: Family, proof: Proof[NerParity], manifest: Manifest, path: Path, *, original: str, preprocessor: str
) -> None:
    """Write the report to `path`, whole or not at all; it needs no network and no other file.

    :param manifest: of the same build: it has every variant that was compared.
    :param original: the original in words; `preprocessor` says the same of what turns texts into inputs.
    """
    parity, speeds = proof.parity, proof.speeds
    rows = label_rows(parity)
    write_page(
        __package__,
        family,
        parity,
        manifest,
        path,
        tiles=_tiles(parity, manifest, speeds, preprocessor),
        plots=_plots(parity, manifest, speeds, original),
        labels=rows,
        total=_total(rows),
        hues=label_hues(parity),
        differing={name: differing_documents(parity, name) for name in parity.comparisons},
        samples=samples(parity),
        original=original,
    )


def label_rows(parity: NerParity) -> list[LabelRow]:
    """Every label that any side found, the original's most frequent first."""
    found = [comparison.agreement.labels for comparison in parity.comparisons.values()]
    none = LabelAgreement(0, 0, 0)
    names = {name for labels in found for name in labels}
    rows = [
        LabelRow(
            name,
            max((labels.get(name, none).expected for labels in found), default=0),
            [labels.get(name, none) for labels in found],
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row.expected, row.label))


def label_hues(parity: NerParity) -> dict[str, int]:
    """A hue in degrees for every label, the same one on the whole page."""
    rows = label_rows(parity)
    return {row.label: round(_FIRST_HUE + index * _GOLDEN_ANGLE) % 360 for index, row in enumerate(rows)}


def differing_documents(parity: NerParity, variant: str) -> list[DifferingDocument]:
    """The first documents whose entities differ, with both sides."""
    comparison = parity.comparisons[variant]
    return [
        DifferingDocument(
            index + 1,
            parity.original[index].tokens,
            _settings(parity.inputs[index]),
            both_sides(parity.inputs[index].text, parity.original[index].entities, comparison.found[index].entities),
        )
        for index in comparison.agreement.differing[:_DIFFERING]
    ]


def samples(parity: NerParity) -> list[Sample]:
    """Some documents as the first variant reads them: as many labels as possible, plain texts of some length first."""
    found = next(iter(parity.comparisons.values())).found
    first_of = {entry.text: index for index, entry in reversed(list(enumerate(parity.inputs)))}
    indices = [index for index in first_of.values() if found[index].entities]
    short = [index for index in indices if _is_calm(parity.inputs[index].text)]
    chosen = _covering(short, parity, _SAMPLES) or indices[:_SAMPLES]
    return [
        Sample(
            index + 1,
            _settings(parity.inputs[index]),
            pieces(text, found[index].entities, excerpts(text, [found[index].entities[0].start])),
        )
        for index in sorted(chosen)
        for text in (parity.inputs[index].text,)
    ]


def _is_calm(text: str) -> bool:
    """Whether a text shows well what a model does: in running words, and not too long."""
    return len(text) <= _LONGEST_SAMPLE and text.isprintable() and text_group(text) == PLAIN


def _covering(indices: list[int], parity: NerParity, most: int) -> list[int]:
    """Places chosen one by one: the one with most labels not seen before, less what else a person has to look at."""
    found = next(iter(parity.comparisons.values())).found
    seen: set[str] = set()
    chosen: list[int] = []

    def worth(index: int) -> int:
        entities = found[index].entities
        return 2 * len({entity.label for entity in entities} - seen) - len(entities)

    left = sorted(indices)
    while left and len(chosen) < most:
        best = max(left, key=worth)
        seen |= {entity.label for entity in found[best].entities}
        left.remove(best)
        chosen.append(best)
    return chosen


def _total(rows: list[LabelRow]) -> LabelRow:
    variants = list(zip(*(row.variants for row in rows), strict=True))
    counts = [
        LabelAgreement(
            sum(each.expected for each in column),
            sum(each.found for each in column),
            sum(each.common for each in column),
        )
        for column in variants
    ]
    return LabelRow("all labels", sum(row.expected for row in rows), counts)


def _settings(entry: NerInput) -> str:
    """The settings of a document's call, in words; empty where none apply."""
    parts = [
        f"strategy {entry.aggregation_strategy}" if entry.aggregation_strategy is not None else "",
        f"stride {entry.stride}" if entry.stride is not None else "",
        f"{len(entry.sentence_starts)} sentences given" if entry.sentence_starts is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _tiles(parity: NerParity, manifest: Manifest, speeds: Mapping[str, float], preprocessor: str) -> list[Tile]:
    documents = len(parity.inputs)
    having = sum(bool(each.entities) for each in parity.original)
    entities = sum(len(each.entities) for each in parity.original)
    labels = len({entity.label for each in parity.original for entity in each.entities})
    tiles = [
        Tile(f"{documents:,}", "documents judged", f"{having:,} with entities"),
        Tile(f"{entities:,}", "entities of the original", f"of {labels} label{'s' * (labels != 1)}"),
    ]
    for name, comparison in parity.comparisons.items():
        agreed = comparison.agreement
        tiles.append(Tile(f"{len(agreed.differing):,}", f"{name}, differing documents", f"of {documents:,}"))
        detail = (
            "places and labels" if agreed.score_max_abs is None else f"scores within {figure(agreed.score_max_abs)}"
        )
        tiles.append(Tile(figure(agreed.entity_f1), f"{name}, entity F1", detail))
    names = list(parity.comparisons)
    smallest = next((name for name in names if name != EXACT), names[0])
    if smallest == EXACT:
        files = sum(manifest.files[path].size for path in manifest.preprocessor_files())
        size = manifest.variant_bytes(smallest)
        tiles.append(Tile(size_text(size), f"{smallest}, graphs and weights", f"{size_text(files)} of {preprocessor}"))
    return [*tiles, *ratio_tiles(smallest, manifest, speeds, "words")]


def _plots(parity: NerParity, manifest: Manifest, speeds: Mapping[str, float], original: str) -> list[Plot]:
    names = list(parity.comparisons)
    counts = {
        "entities per document": [len(each.entities) for each in parity.original],
        "tokens per document": [each.tokens for each in parity.original],
    }
    svg = plot_counts(counts, "counts", "Histograms of entities and of tokens per document")
    note = "Documents by count; the bar over 8 stands for 5 to 8, the one over 16 for 9 to 16."
    cost = f"The original is {original}. A guide, not a benchmark."
    return [
        Plot.of("What was judged", note, svg),
        size_speed_plot(manifest, names, speeds, "words", cost),
        *layer_plots(manifest, names),
    ]
