"""The parity stage of summarizers; the original is the model in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.families.summarization import SummarizationSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ...artifacts.staging import Staged
from ...runtime.graph_model import staged_model
from ...runtime.handles.summarizer import Summarizer
from ...runtime.summarization.summarizer import BeamSearchSummarizer, summarize_with_settings
from ...runtime.tokenizer import TextTokenizer
from ..proof import Proof
from .evaluation import SummaryParity, evaluate, evidence, golden_cases, summaries_per_second
from .inputs import SummaryInput, summary_inputs
from .original import OriginalSummarizer, load_original, original_summaries
from .references import read_references
from .report import write_report

__all__ = ["evidence", "golden_cases", "prove", "write_report"]


def prove(staged: Staged, folder: Path) -> Proof[SummaryParity]:
    """Compare every variant that the build settings name with the original model in `folder`."""
    settings, spec, tokenizer = staged.settings, staged.section(SummarizationSpec), staged.section(TokenizerSpec)
    options = settings.options
    original = load_original(
        folder, spec.join, tokenizer.max_tokens, defaults=spec.defaults, allow_pickle=options.allow_pickle
    )
    inputs = summary_inputs(spec.defaults, tokenizer.max_tokens, spec.max_target_tokens, options.parity_inputs)
    # The original runs before ONNX Runtime starts its threads, because the thread pools would slow each other down
    expected = original_summaries(original, [each.messages for each in inputs], [each.settings for each in inputs])
    speeds = {"original": summaries_per_second(partial(_run_original, original), inputs)}
    references = [] if options.references is None else read_references(options.references)
    variants = sorted(settings.variants)
    summarizers = {
        name: Summarizer(BeamSearchSummarizer(staged_model(staged, name, "generate", SummarizationSpec, TextTokenizer)))
        for name in {*variants, *([EXACT] if references else [])}
    }
    parity = evaluate(inputs, expected, summarizers, settings.gates, references)
    speeds |= {name: summaries_per_second(partial(_run, summarizers[name]), inputs) for name in variants}
    return Proof(parity, speeds)


def _run_original(original: OriginalSummarizer, inputs: Sequence[SummaryInput]) -> None:
    original_summaries(original, [each.messages for each in inputs], [each.settings for each in inputs])


def _run(summarizer: Summarizer, inputs: Sequence[SummaryInput]) -> None:
    summarize_with_settings(summarizer, [each.messages for each in inputs], [each.settings for each in inputs])
