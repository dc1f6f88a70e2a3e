"""The parity stage for summaries: compare, gate, write the evidence and the golden cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...artifacts.constants import EXACT
from ...artifacts.families.summarization import SUMMARIZATION, ExpectedSummary, SummaryCase
from ...runtime.summarization.summarizer import Summarizer, Summary, summarize_with_settings
from ..proof import check_gate
from .inputs import SummaryInput
from .original import OriginalSummary
from .references import Reference, references_hash
from .rouge import mean_rouge

# Scores closer than this are decided by float noise: torch and ONNX Runtime add up in another order.
TIE = 1e-5
_SHOWN = 10
_EXCERPT = 500
_GOLDEN_CASES = 24
_SPEED_INPUTS = 8


@dataclass(frozen=True)
class VariantSummaries:
    """One variant against the original: its summaries, where they differ, where they tie, the figures of its gate."""

    found: list[Summary]
    differing: tuple[int, ...]
    ties: tuple[int, ...]
    metrics: dict[str, float]


@dataclass(frozen=True)
class SummaryParity:
    """What the stage found: inputs, the original's answers; a comparison and gate misses by variant."""

    inputs: list[SummaryInput]
    original: list[OriginalSummary]
    comparisons: dict[str, VariantSummaries]
    failures: dict[str, list[str]]
    references: list[Reference]


def evaluate(
    inputs: Sequence[SummaryInput],
    original: Sequence[OriginalSummary],
    summarizers: Mapping[str, Summarizer],
    gates: Mapping[str, Mapping[str, float]],
    references: Sequence[Reference] = (),
) -> SummaryParity:
    """Compare the summaries of every variant that has a gate with the original's.

    :param summarizers: by variant; with references that of fp32 must be there, gate or not.
    """
    comparisons = {name: _compare(summarizers[name], name, inputs, original) for name in gates}
    for name, figures in _reference_metrics(summarizers, list(gates), references).items():
        comparisons[name].metrics.update(figures)
    failures = {
        name: check_gate(SUMMARIZATION.metrics, found.metrics, gates[name]) for name, found in comparisons.items()
    }
    return SummaryParity(list(inputs), list(original), comparisons, failures, list(references))


def evidence(parity: SummaryParity) -> dict[str, Any]:
    """The records of parity.json."""
    records: dict[str, Any] = {
        "texts": {"all": len(parity.inputs), "truncated": sum(each.truncated for each in parity.original)},
        "variants": {
            name: {
                "metrics": comparison.metrics,
                "differing": differing_inputs(parity, name, comparison.differing),
                "ties": differing_inputs(parity, name, comparison.ties),
            }
            for name, comparison in parity.comparisons.items()
        },
    }
    if parity.references:
        records["references"] = {"summaries": len(parity.references), "sha256": references_hash(parity.references)}
    return records


def differing_inputs(parity: SummaryParity, variant: str, indices: Sequence[int]) -> list[dict[str, Any]]:
    """The first of some inputs with both summaries and their scores."""
    shown = []
    for index in indices[:_SHOWN]:
        original, found, entry = parity.original[index], parity.comparisons[variant].found[index], parity.inputs[index]
        shown.append(
            {
                "source": " ".join(entry.messages)[:_EXCERPT],
                "settings": asdict(entry.settings),
                "original": {"text": original.expected.text, "score": _rounded(original.score)},
                "variant": {"text": found.text, "score": _rounded(found.score)},
            }
        )
    return shown


def golden_cases(parity: SummaryParity) -> list[SummaryCase]:
    """An even selection of the inputs with the original's summaries, and those of variants that need not equal them.

    Inputs whose summary float noise decides are none: another machine may decide them the other way.
    """
    indices = golden_indices(len(parity.inputs), [found.ties for found in parity.comparisons.values()])
    sealed = {name: found.found for name, found in parity.comparisons.items() if name != EXACT}
    return [
        SummaryCase(
            parity.inputs[index].messages,
            parity.inputs[index].settings,
            parity.original[index].expected,
            parity.original[index].truncated,
            {name: ExpectedSummary(found[index].text, found[index].token_ids) for name, found in sealed.items()},
        )
        for index in indices
    ]


def golden_indices(inputs: int, ties: Sequence[Sequence[int]]) -> list[int]:
    """Which of the inputs become golden cases."""
    tied = {index for each in ties for index in each}
    clear = [index for index in range(inputs) if index not in tied]
    every = max(1, len(clear) // _GOLDEN_CASES)
    return clear[::every]


def summaries_per_second(
    summarize: Callable[[list[SummaryInput]], object], inputs: Sequence[SummaryInput], rounds: int = 1
) -> float:
    """Best speed of `rounds` over some inputs of several messages; a guide for the report, not a benchmark."""
    own = inputs[0].settings
    chosen = [entry for entry in inputs if entry.settings == own and len(entry.messages) > 1][:_SPEED_INPUTS]
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        summarize(chosen)
        best = max(best, len(chosen) / (time.perf_counter() - started))
    return best


def _compare(
    summarizer: Summarizer, variant: str, inputs: Sequence[SummaryInput], original: Sequence[OriginalSummary]
) -> VariantSummaries:
    found = summarize_with_settings(
        summarizer, [entry.messages for entry in inputs], [entry.settings for entry in inputs]
    )
    pairs = list(enumerate(zip(original, found, strict=True)))
    unlike = [index for index, (a, b) in pairs if not _is_same(a, b)]
    ties = tuple(index for index in unlike if _is_tie(original[index], found[index]))
    differing = tuple(index for index in unlike if index not in ties)
    scores = mean_rouge((each.text for each in found), (each.expected.text for each in original))
    metrics = {
        "differing": float(len(differing)),
        "ties": float(len(ties)),
        **{name: _rounded(value) for name, value in asdict(scores).items()},
        "token_mismatches": float(sum(a.truncated != b.truncated for _, (a, b) in pairs)),
    }
    if variant != EXACT:
        metrics["sealed_same"] = _rounded(_same_alone(summarizer, inputs, found))
    return VariantSummaries(found, differing, ties, metrics)


def _is_same(original: OriginalSummary, found: Summary) -> bool:
    required = (original.expected.token_ids, original.expected.text, original.truncated)
    return required == (found.token_ids, found.text, found.truncated)


def _is_tie(original: OriginalSummary, found: Summary) -> bool:
    is_cut_alike = original.truncated == found.truncated
    others = original.expected.token_ids != found.token_ids
    return is_cut_alike and others and abs(original.score - found.score) < TIE


def _same_alone(summarizer: Summarizer, inputs: Sequence[SummaryInput], found: Sequence[Summary]) -> float:
    """The share of golden inputs that, summarized again and one by one, have the same token ids."""
    indices = golden_indices(len(inputs), [])
    again = [
        summarize_with_settings(summarizer, [inputs[index].messages], [inputs[index].settings])[0] for index in indices
    ]
    return sum(found[index].token_ids == each.token_ids for index, each in zip(indices, again, strict=True)) / len(
        indices
    )


def _reference_metrics(
    summarizers: Mapping[str, Summarizer], variants: Sequence[str], references: Sequence[Reference]
) -> dict[str, dict[str, float]]:
    """ROUGE-L against the references, 0 to 1, and for other variants than fp32 the points they lose to it."""
    if not references:
        return {}
    messages, expected = [each.messages for each in references], [each.summary for each in references]
    names = dict.fromkeys([EXACT, *variants])
    scores = {name: mean_rouge(summarizers[name].summarize_batch(messages), expected).rouge_l for name in names}
    figures = {name: {"rouge_l_reference": _rounded(scores[name])} for name in variants}
    for name in variants:
        if name != EXACT:
            figures[name]["rouge_l_drop"] = _rounded(100 * (scores[EXACT] - scores[name]))
    return figures


def _rounded(value: float) -> float:
    """Seven significant digits: enough to judge, and the same from run to run."""
    return float(f"{value:.7g}")
