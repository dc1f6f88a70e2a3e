"""Summarize texts with one graph that contains encoder, decoder and beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...artifacts.errors import ArtifactError
from ...artifacts.families.summarization import SummaryCase
from ..handles.summarizer import Summarizer, Summary
from ..loading import OTHER_RESULTS, Figures, OpenArtifact, Report, reporting
from ..loading import load_tokenizer as load_preprocessor
from ..options import BridgeOptions
from ..tokenizer import TextTokenizer
from .settings import options_of
from .summarizer import DEFAULT_SOURCE_BUDGET, BeamSearchSummarizer, summarization_model

__all__ = ["load_preprocessor", "open_model", "replay"]


def open_model(opened: OpenArtifact[TextTokenizer], options: BridgeOptions, name: str | None = None) -> Summarizer:
    """Create the handle of the opened variant; its graph is loaded by the first call."""
    backend = BeamSearchSummarizer(
        summarization_model(opened),
        threads=options.threads,
        token_budget=opened.lane.run_tokens or DEFAULT_SOURCE_BUDGET,
        beam_limit=options.beam_limit,
        text_limit=options.text_limit,
        lane=opened.lane,
    )
    return Summarizer(backend, name=name, timeout=options.timeout)


def replay(opened: OpenArtifact[TextTokenizer], cases: Sequence[SummaryCase], threads: int, report: Report) -> Figures:
    """Summarize the inputs of the golden cases and compare the summaries with the expected ones.

    :returns: the metrics `differing` (from the original's summaries) and `sealed_same` over all cases; see
        `_sealed_same`.
    :raises ArtifactError: with the code `golden` if `truncated` of a case differs, or if a metric is outside of the
        variant's gate.
    """
    summarizer = open_model(opened, BridgeOptions(threads=threads))
    summarizer.warm_up()
    # One case per run: a run of several cases would report nothing for a long time
    pairs = [
        (case, summarizer.summarize([case.input], options_of(case.settings))[0]) for case in reporting(cases, report)
    ]
    for number, (case, answer) in enumerate(pairs, start=1):
        if case.truncated != answer.truncated:
            raise ArtifactError(
                "golden", f"truncated of case {number}", expected=case.truncated, actual=answer.truncated
            )
    differing = sum(
        (case.expected.text, case.expected.token_ids) != (answer.text, answer.token_ids) for case, answer in pairs
    )
    same = _sealed_same(pairs, opened.variant)
    # NaN misses every threshold, so a gate on `sealed_same` fails if the cases have no summaries of this variant.
    figures = {"differing": float(differing), "sealed_same": math.nan if same is None else same}
    gate = opened.artifact.manifest.variants[opened.variant].gate
    if misses := opened.artifact.family.gate_misses(figures, gate):
        raise ArtifactError("golden", f"variant {opened.variant}: {'; '.join(misses)}", hint=OTHER_RESULTS)
    return {"differing": differing, "sealed_same": same}


def _sealed_same(pairs: Sequence[tuple[SummaryCase, Summary]], variant: str) -> float | None:
    """Return the share of cases whose token ids are the same as when the variant was built (`case.sealed`).

    The result is None if no case has a summary of the variant.
    """
    same = [case.sealed[variant].token_ids == answer.token_ids for case, answer in pairs if variant in case.sealed]
    return sum(same) / len(same) if same else None
