"""The parity report of summaries: one HTML file, for a person who decides about a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.families.summarization import SUMMARIZATION, GenerationDefaults
from ...artifacts.manifest import Manifest
from ...runtime.summarization.summarizer import Summary
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
_COST_NOTE = "The original is generate of transformers, one input at a time. A guide, not a benchmark."


@dataclass(frozen=True)
class Words:
    """Words in a row; `is_alone` where the other side does not have them."""

    text: str
    is_alone: bool


@dataclass(frozen=True)
class Side:
    """One variant's summary of an input; `verdict` says in words how it stands to the original's."""

    variant: str
    words: list[Words]
    verdict: str


@dataclass(frozen=True)
class Row:
    """One input with all its summaries; `number` counts inputs from 1, `source` is the beginning of the text."""

    number: int
    messages: int
    source: str
    is_excerpt: bool
    settings: str
    is_truncated: bool
    original: str
    sides: list[Side]


def write_report(proof: Proof[SummaryParity], manifest: Manifest, path: Path) -> None:
    """Write the report to `path`, whole or not at all; it needs no network and no other file.

    :param manifest: of the same build: it has every variant that was compared.
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
    """Inputs to look at: those where a variant differs, then others, in all a page's worth."""
    apart = {index for found in parity.comparisons.values() for index in (*found.differing, *found.ties)}
    same = [index for index in range(len(parity.inputs)) if index not in apart]
    return [_row(parity, index) for index in [*sorted(apart), *same][:_SHOWN]]


def compared_words(text: str, other: str) -> list[Words]:
    """The words of a text, those marked that are not in the other in this order; joined they are its words."""
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
            compared_words(found.found[index].text, original.expected.text),
            _verdict(original, found.found[index], is_tie=index in found.ties),
        )
        for name, found in parity.comparisons.items()
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


def _verdict(original: OriginalSummary, found: Summary, *, is_tie: bool) -> str:
    if original.expected.token_ids == found.token_ids:
        return "the same tokens" if original.expected.text == found.text else "the same tokens, read otherwise"
    alike = f"ROUGE-L {rouge(found.text, original.expected.text).rouge_l:.3f}"
    apart = f"scores apart by {figure(abs(original.score - found.score))}"
    return f"{alike}, {apart}: a tie" if is_tie else f"{alike}, {apart}"


def settings_text(settings: GenerationDefaults) -> str:
    """The settings of a call in words."""
    beams = "greedy" if settings.num_beams == 1 else f"{settings.num_beams} beams"
    return f"{beams}, {settings.min_length} to {settings.max_length} tokens, penalty {settings.length_penalty:g}"


def _tiles(parity: SummaryParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Tile]:
    inputs = len(parity.inputs)
    cut = sum(each.truncated for each in parity.original)
    tiles = [Tile(f"{inputs:,}", "inputs judged", f"{cut} of them cut to the model's limit")]
    for name, found in parity.comparisons.items():
        detail = f"of {inputs:,}" + (f", and {len(found.ties)} ties" if found.ties else "")
        tiles.append(Tile(f"{len(found.differing):,}", f"{name}, differing summaries", detail))
        if name != EXACT:
            detail = f"the same again: {share(found.metrics['sealed_same'])}"
            tiles.append(Tile(f"{found.metrics['rouge_l']:.4f}", f"{name}, ROUGE-L to the original", detail))
    tiles += _reference_tiles(parity)
    smaller = [name for name in parity.comparisons if name != EXACT]
    return [*tiles, *ratio_tiles((smaller or list(parity.comparisons))[0], manifest, speeds, "summaries")]


def _reference_tiles(parity: SummaryParity) -> list[Tile]:
    detail = f"over {len(parity.references):,} reference summaries"
    return [
        Tile(f"{100 * found.metrics['rouge_l_reference']:.2f}", f"{name}, ROUGE-L to references", detail)
        for name, found in parity.comparisons.items()
        if "rouge_l_reference" in found.metrics
    ]


def _plots(parity: SummaryParity, manifest: Manifest, speeds: Mapping[str, float]) -> list[Plot]:
    names = list(parity.comparisons)
    counts: dict[str, Sequence[int]] = {
        "words per input": [sum(len(message.split()) for message in entry.messages) for entry in parity.inputs],
        "tokens per summary": [len(each.expected.token_ids) - 1 for each in parity.original],
    }
    svg = plot_counts(counts, "counts", "Histograms of words per input and of tokens per summary")
    note = "Inputs by count; the bar over 8 stands for 5 to 8, the one over 16 for 9 to 16."
    return [
        Plot.of("What was judged", note, svg),
        size_speed_plot(manifest, names, speeds, "summaries", _COST_NOTE),
        *layer_plots(manifest, names),
    ]
