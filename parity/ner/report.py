"""The parity report of the task `ner`: one HTML file."""

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
from .diff import Segment, Sides, both_sides, excerpts, segments
from .evaluation import NerInput, NerParity

_DIFFERING = 12
_SAMPLES = 8
_MAX_SAMPLE_CHARACTERS = 500
_GOLDEN_ANGLE = 137.508  # degrees; multiples of this angle are well separated hues for any number of labels
_FIRST_HUE = 212


@dataclass(frozen=True)
class LabelRow:
    """One label: the number of entities of the original, and the counts of every variant."""

    label: str
    expected: int
    variants: list[LabelAgreement]


@dataclass(frozen=True)
class DifferingDocument:
    """A document in which a variant finds other entities than the original; `number` starts at 1."""

    number: int
    tokens: int
    settings: str
    sides: Sides


@dataclass(frozen=True)
class Sample:
    """A document with its entities, reduced to an excerpt if it is long."""

    number: int
    settings: str
    segments: list[Segment]


def write_ner_report(
    family: Family, proof: Proof[NerParity], manifest: Manifest, path: Path, *, original: str, preprocessor: str
) -> None:
    """Write the self-contained report to `path` atomically.

    :param manifest: the manifest of the same build.
    :param original: the name of the original, such as `spaCy`.
    :param preprocessor: the name of the preprocessor, such as `tokenizer`.
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
    """Return one row per label, ordered by frequency in the original."""
    counts = [comparison.agreement.labels for comparison in parity.comparisons.values()]
    none = LabelAgreement(0, 0, 0)
    names = {name for labels in counts for name in labels}
    rows = [
        LabelRow(
            name,
            max((labels.get(name, none).expected for labels in counts), default=0),
            [labels.get(name, none) for labels in counts],
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row.expected, row.label))


def label_hues(parity: NerParity) -> dict[str, int]:
    """Return the hue of the color of every label, in degrees."""
    rows = label_rows(parity)
    return {row.label: round(_FIRST_HUE + index * _GOLDEN_ANGLE) % 360 for index, row in enumerate(rows)}


def differing_documents(parity: NerParity, variant: str) -> list[DifferingDocument]:
    """Return the first documents in which the entities of the variant and of the original differ, with both results."""
    comparison = parity.comparisons[variant]
    return [
        DifferingDocument(
            index + 1,
            parity.original[index].tokens,
            _settings(parity.inputs[index]),
            both_sides(parity.inputs[index].text, parity.original[index].entities, comparison.answers[index].entities),
        )
        for index in comparison.agreement.differing[:_DIFFERING]
    ]


def samples(parity: NerParity) -> list[Sample]:
    """Return some documents with the entities that the first variant found, chosen to show as many labels as possible.

    Short, plain texts are preferred.
    """
    answers = next(iter(parity.comparisons.values())).answers
    first_of = {entry.text: index for index, entry in reversed(list(enumerate(parity.inputs)))}
    indices = [index for index in first_of.values() if answers[index].entities]
    short = [index for index in indices if _is_readable(parity.inputs[index].text)]
    chosen = _covering(short, parity, _SAMPLES) or indices[:_SAMPLES]
    return [
        Sample(
            index + 1,
            _settings(parity.inputs[index]),
            segments(text, answers[index].entities, excerpts(text, [answers[index].entities[0].start])),
        )
        for index in sorted(chosen)
        for text in (parity.inputs[index].text,)
    ]


def _is_readable(text: str) -> bool:
    """Return whether a text is suitable as a sample: plain, printable and short."""
    return len(text) <= _MAX_SAMPLE_CHARACTERS and text.isprintable() and text_group(text) == PLAIN


def _covering(indices: list[int], parity: NerParity, limit: int) -> list[int]:
    """Choose up to `limit` documents, one after the other.

    Each choice prefers documents with few entities and many labels that no document chosen before has.
    """
    answers = next(iter(parity.comparisons.values())).answers
    seen: set[str] = set()
    chosen: list[int] = []

    def worth(index: int) -> int:
        entities = answers[index].entities
        return 2 * len({entity.label for entity in entities} - seen) - len(entities)

    left = sorted(indices)
    while left and len(chosen) < limit:
        best = max(left, key=worth)
        seen |= {entity.label for entity in answers[best].entities}
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
    """Format the settings of a document's call; the empty string if it has none."""
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
        Tile(f"{documents:,}", "documents compared", f"{having:,} with entities"),
        Tile(f"{entities:,}", "entities of the original", f"of {labels} label{'s' * (labels != 1)}"),
    ]
    for name, comparison in parity.comparisons.items():
        agreed = comparison.agreement
        tiles.append(Tile(f"{len(agreed.differing):,}", f"{name}, differing documents", f"of {documents:,}"))
        detail = (
            "by offsets and label" if agreed.score_max_abs is None else f"scores within {figure(agreed.score_max_abs)}"
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
    note = "Number of documents by count. The bar at 8 covers 5 to 8, the bar at 16 covers 9 to 16, and so on."
    cost = f"The original is {original}. A rough measurement, not a benchmark."
    return [
        Plot.of("Distribution of the inputs", note, svg),
        size_speed_plot(manifest, names, speeds, "words", cost),
        *layer_plots(manifest, names),
    ]
