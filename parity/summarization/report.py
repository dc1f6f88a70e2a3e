"""The parity report of summarizers: one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.families.summarization import SUMMARIZATION, GenerationDefaults
from ...artifacts.manifest import Manifest
from ...runtime.handles.summarizer import Summary
from ...runtime.summarization.summarizer import score_of
from ..count_plots import plot_counts
from ..page import (
    Plot,
    Tile,
    figure,
    layer_plots,
    ratio_tiles,
    share,
    size_speed_plot,
    write_page,
)
from ..proof import Proof
from .evaluation import SummaryParity
from .original import OriginalSummary
from .rouge import rouge

_SHOWN = 24
_EXCERPT = 400
_COST_NOTE = "The original is generate of transformers, one input at a time. A rough measurement, not a benchmark."


@dataclass(frozen=True)
class Words:
    """Consecutive words of a summary; `is_unmatched` is true if the summary it is compared with lacks them."""

    text: str
    is_unmatched: bool


@dataclass(frozen=True)
class Side:
    """One variant's summary of an input; `verdict` describes the difference from the original's summary."""

    variant: str
    words: list[Words]
    verdict: str


@dataclass(frozen=True)
class Row:
    """One input with all its summaries; `number` starts at 1, `source` is the beginning of the text."""

    number: int
    messages: int
    source: str
    is_excerpt: bool
    settings: str
    is_truncated: bool
    original: str
    sides: list[Side]


def write_report(proof: Proof[SummaryParity], manifest: Manifest, path: Path) -> None:
    """Write the self-contained report to `path` atomically.

    :param manifest: the manifest of the same build.
    """
    parity, speeds = proof.parity, proof.speeds
    write_page(
        __package__,
        SUMMARIZATION,
        parity,
        manifest,
        path,
        tiles=_tiles(parity, manifest, speeds),
        plots=_plots(parity, manifest, speeds),
        rows=rows(parity),
    )


def rows(parity: SummaryParity) -> list[Row]:
    """Return up to 24 inputs: first those whose summaries differ, then others."""
    different = {index for each in parity.comparisons.values() for index in (*each.differing, *each.ties)}
    same = [index for index in range(len(parity.inputs)) if index not in different]
    return [_row(parity, index) for index in [*sorted(different), *same][:_SHOWN]]


def compared_words(text: str, other: str) -> list[Words]:
    """Split a text into runs of words, and mark those that the other text lacks at this position."""
    own, others = text.split(), other.split()
    matcher = SequenceMatcher(None, others, own, autojunk=False)
    return [
        Words(" ".join(own[start:end]), kind != "equal")
        for kind, _, _, start, end in matcher.get_opcodes()
        if end > start
    ]


def _row(parity: SummaryParity, index: int) -> Row:
    entry, original = parity.inputs[index], parity.original[index]
    source = " ".join(entry.messages)
    sides = [
        Side(
            name,
            compared_words(compared.summaries[index].text, original.expected.text),
            _verdict(original, compared.summaries[index], is_tie=index in compared.ties),
        )
        for name, compared in parity.comparisons.items()
    ]
    return Row(
        index + 1,
        len(entry.messages),
        source[:_EXCERPT],
        len(source) > _EXCERPT,
        settings_text(entry.settings),
        original.truncated,
        original.expected.text,
        sides,
    )


def _verdict(original: OriginalSummary, summary: Summary, *, is_tie: bool) -> str:
    if original.expected.token_ids == summary.token_ids:
        is_same = original.expected.text == summary.text
        return "the same tokens" if is_same else "the same tokens, but a different text"
    rouge_l = f"ROUGE-L {rouge(summary.text, original.expected.text).rouge_l:.3f}"
    distance = f"scores differ by {figure(abs(original.score - score_of(summary)))}"
    return f"{rouge_l}, {distance}: a tie" if is_tie else f"{rouge_l}, {distance}"


def settings_text(settings: GenerationDefaults) -> str:
    """Return the generation settings of a call as text."""
    beams = "greedy" if settings.num_beams == 1 else f"{settings.num_beams} beams"
    return f"{beams}, {settings.min_length} to {settings.max_length} tokens, penalty {settings.length_penalty:g}"


def _tiles(parity: SummaryParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Tile]:
    inputs = len(parity.inputs)
    cut = sum(each.truncated for each in parity.original)
    tiles = [Tile(f"{inputs:,}", "inputs compared", f"{cut} of them cut to the model's limit")]
    for name, compared in parity.comparisons.items():
        ties = f", and {len(compared.ties)} ties ({share(compared.metrics['tie_share'])})" if compared.ties else ""
        detail = f"of {inputs:,}{ties}"
        tiles.append(Tile(f"{len(compared.differing):,}", f"{name}, differing summaries", detail))
        if name != EXACT:
            detail = f"the same alone and in a batch: {share(compared.metrics['sealed_same'])}"
            tiles.append(Tile(f"{compared.metrics['rouge_l']:.4f}", f"{name}, ROUGE-L to the original", detail))
    tiles += _reference_tiles(parity)
    smaller = [name for name in parity.comparisons if name != EXACT]
    return [*tiles, *ratio_tiles((smaller or list(parity.comparisons))[0], manifest, speeds, "summaries")]


def _reference_tiles(parity: SummaryParity) -> list[Tile]:
    detail = f"over {len(parity.references):,} reference summaries"
    return [
        Tile(f"{100 * compared.metrics['rouge_l_reference']:.2f}", f"{name}, ROUGE-L to references", detail)
        for name, compared in parity.comparisons.items()
        if "rouge_l_reference" in compared.metrics
    ]


def _plots(parity: SummaryParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Plot]:
    names = list(parity.comparisons)
    counts: dict[str, Sequence[int]] = {
        "words per input": [sum(len(message.split()) for message in entry.messages) for entry in parity.inputs],
        "tokens per summary": [len(each.expected.token_ids) - 1 for each in parity.original],
    }
    svg = plot_counts(counts, "counts", "Histograms of words per input and of tokens per summary")
    note = "Number of inputs by count. The bar at 8 covers 5 to 8, the bar at 16 covers 9 to 16, and so on."
    return [
        Plot.of("Distribution of the inputs", note, svg),
        size_speed_plot(manifest, names, speeds, "summaries", _COST_NOTE),
        *layer_plots(manifest, names),
    ]
