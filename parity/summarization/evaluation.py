"""Compares summarizers with the original, and composes parity.json and golden.jsonl from the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...artifacts.constants import EXACT
from ...artifacts.families.summarization import SUMMARIZATION, ExpectedSummary, SummaryCase
from ...runtime.handles.summarizer import Summarizer, Summary
from ...runtime.summarization.summarizer import ids_of, score_of, summarize_with_settings
from ..proof import check_gate
from .inputs import SummaryInput
from .original import OriginalSummary
from .references import Reference, references_hash
from .rouge import mean_rouge

# If the scores of two summaries differ by less than this, rounding errors decide which of them is the best, because
# torch and ONNX Runtime add numbers in different orders
TIE = 1e-5
_SHOWN = 10
_EXCERPT = 500
_GOLDEN_CASES = 24
_SPEED_INPUTS = 8


@dataclass(frozen=True)
class VariantSummaries:
    """The comparison of one variant with the original.

    `differing` and `ties` are indices of inputs; the scores of a tie differ by less than `TIE`.
    """

    summaries: list[Summary]
    differing: tuple[int, ...]
    ties: tuple[int, ...]
    metrics: dict[str, float]


@dataclass(frozen=True)
class SummaryParity:
    """The parity results: inputs, references, and the comparison and missed thresholds by variant.

    `original` has the summaries of the original, `references` the summaries that people wrote.
    """

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
    """Compare the summaries of every variant that has a gate with those of the original.

    :param original: the original's summary of every input.
    :param summarizers: the summarizers by variant; fp32 is required if there are references.
    :param gates: thresholds by variant and metric.
    :param references: texts with summaries that people wrote.
    """
    comparisons = {name: _compare(summarizers[name], name, inputs, original) for name in gates}
    for name, figures in _reference_metrics(summarizers, list(gates), references).items():
        comparisons[name].metrics.update(figures)
    failures = {
        name: check_gate(SUMMARIZATION.metrics, compared.metrics, gates[name]) for name, compared in comparisons.items()
    }
    return SummaryParity(list(inputs), list(original), comparisons, failures, list(references))


def evidence(parity: SummaryParity) -> dict[str, Any]:
    """Return the content of parity.json without the machine and the versions."""
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
    """Return the first inputs of `indices` with the summaries of the original and of a variant and their scores."""
    shown = []
    for index in indices[:_SHOWN]:
        original, entry = parity.original[index], parity.inputs[index]
        summary = parity.comparisons[variant].summaries[index]
        shown.append(
            {
                "source": " ".join(entry.messages)[:_EXCERPT],
                "settings": asdict(entry.settings),
                "original": {"text": original.expected.text, "score": _rounded(original.score)},
                "variant": {"text": summary.text, "score": _rounded(score_of(summary))},
            }
        )
    return shown


def golden_cases(parity: SummaryParity) -> list[SummaryCase]:
    """Return evenly spaced inputs with the original's summaries as golden cases.

    Each case also contains the summaries of the variants other than fp32. Ties are left out, because their summaries
    can differ on another machine.
    """
    indices = golden_indices(len(parity.inputs), [compared.ties for compared in parity.comparisons.values()])
    sealed = {name: compared.summaries for name, compared in parity.comparisons.items() if name != EXACT}
    return [
        SummaryCase(
            parity.inputs[index].messages,
            parity.inputs[index].settings,
            parity.original[index].expected,
            parity.original[index].truncated,
            {name: ExpectedSummary(each[index].text, ids_of(each[index])) for name, each in sealed.items()},
        )
        for index in indices
    ]


def golden_indices(inputs: int, ties: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the inputs that become golden cases: evenly spaced inputs that are a tie of no variant."""
    tied = {index for each in ties for index in each}
    clear = [index for index in range(inputs) if index not in tied]
    every = max(1, len(clear) // _GOLDEN_CASES)
    return clear[::every]


def summaries_per_second(
    summarize: Callable[[list[SummaryInput]], object], inputs: Sequence[SummaryInput], rounds: int = 1
) -> float:
    """Return the best speed of several rounds over some inputs with several messages; a rough measurement."""
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
    summaries = summarize_with_settings(
        summarizer, [entry.messages for entry in inputs], [entry.settings for entry in inputs]
    )
    pairs = list(enumerate(zip(original, summaries, strict=True)))
    different = [index for index, (a, b) in pairs if not _is_same(a, b)]
    ties = tuple(index for index in different if _is_tie(original[index], summaries[index]))
    differing = tuple(index for index in different if index not in ties)
    scores = mean_rouge((each.text for each in summaries), (each.expected.text for each in original))
    metrics = {
        "differing": float(len(differing)),
        "ties": float(len(ties)),
        "tie_share": _rounded(len(ties) / len(inputs)) if inputs else 0.0,
        **{name: _rounded(value) for name, value in asdict(scores).items()},
        "token_mismatches": float(sum(a.truncated != b.truncated for _, (a, b) in pairs)),
    }
    if variant != EXACT:
        metrics["sealed_same"] = _rounded(_same_alone(summarizer, inputs, summaries))
    return VariantSummaries(summaries, differing, ties, metrics)


def _is_same(original: OriginalSummary, summary: Summary) -> bool:
    expected = (original.expected.token_ids, original.expected.text, original.truncated)
    return expected == (summary.token_ids, summary.text, summary.truncated)


def _is_tie(original: OriginalSummary, summary: Summary) -> bool:
    has_same_cut = original.truncated == summary.truncated
    has_other_ids = original.expected.token_ids != summary.token_ids
    return has_same_cut and has_other_ids and abs(original.score - score_of(summary)) < TIE


def _same_alone(summarizer: Summarizer, inputs: Sequence[SummaryInput], summaries: Sequence[Summary]) -> float:
    """Return the share of golden inputs whose summary has the same token ids in a batch and in a call of its own.

    :param summaries: the summaries of all inputs, which were computed in batches.
    """
    indices = golden_indices(len(inputs), [])
    again = [
        summarize_with_settings(summarizer, [inputs[index].messages], [inputs[index].settings])[0] for index in indices
    ]
    return sum(summaries[index].token_ids == each.token_ids for index, each in zip(indices, again, strict=True)) / len(
        indices
    )


def _reference_metrics(
    summarizers: Mapping[str, Summarizer], variants: Sequence[str], references: Sequence[Reference]
) -> dict[str, dict[str, float]]:
    """Return ROUGE-L against the references (0 to 1) by variant, and the loss in points compared with fp32."""
    if not references:
        return {}
    messages, expected = [each.messages for each in references], [each.summary for each in references]
    names = dict.fromkeys([EXACT, *variants])
    scores = {name: mean_rouge(_texts(summarizers[name], messages), expected).rouge_l for name in names}
    figures = {name: {"rouge_l_reference": _rounded(scores[name])} for name in variants}
    for name in variants:
        if name != EXACT:
            figures[name]["rouge_l_drop"] = _rounded(100 * (scores[EXACT] - scores[name]))
    return figures


def _rounded(value: float) -> float:
    """Round a number to seven significant digits, so that rounding errors do not change the files of a build."""
    return float(f"{value:.7g}")


def _texts(summarizer: Summarizer, inputs: Sequence[Sequence[str]]) -> list[str]:
    return [summary.text for summary in summarizer.summarize(inputs)]
