"""The quantize stage of summarization: int8 parts, composed with the search into one graph as in export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...artifacts.constants import EXACT, graph_file
from ...artifacts.families.summarization import SummarizationSpec
from ...artifacts.manifest import Variant
from ...artifacts.manifest_sections import TokenizerSpec
from ...artifacts.staging import Staged
from ...graphs.files import describe_graph, save_graph
from ...graphs.summarization.composition import compose_graph
from ...runtime.graph_model import staged_model
from ...runtime.handles.summarizer import SummarizeOptions, Summarizer
from ...runtime.summarization.summarizer import BeamSearchSummarizer, ids_of
from ...runtime.tokenizer import TextTokenizer
from ..calibration import Feeds, describe_calibration, read_calibration_texts
from ..encoder import INT8
from ..int8 import QuantizedGraph, describe_quantization
from .parts import quantize_parts

_ROLE = "generate"
# The number of the package's calibration texts that are used. Every token of a text and of its summary is a row, so
# that every product is calibrated on thousands of rows.
_CALIBRATION_TEXTS = 96
# The maximum length of a calibration summary, in tokens.
_CALIBRATION_LENGTH = 64


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant, calibrated on texts and on greedy summaries of them, which the fp32 graph computes."""
    texts = _calibration_texts(staged.settings.calibration)
    feeds = _feeds(staged, texts)
    sequences = _greedy_summaries(staged, EXACT, texts)
    quantized = quantize_parts(staged.networks, feeds, sequences)
    file = graph_file("model", INT8)
    pad_token_id = staged.section(TokenizerSpec).pad_token_id
    graph = compose_graph(quantized.parts, staged.section(SummarizationSpec), pad_token_id)
    save_graph(graph, staged.folder, file)
    variant = Variant({_ROLE: describe_graph(graph, file)}, staged.settings.gate(INT8), None)
    summaries = _greedy_summaries(staged.with_variant(INT8, variant), INT8, texts)
    same = sum(a == b for a, b in zip(sequences, summaries, strict=True)) / len(sequences)
    calibration = describe_calibration(texts, sum(each["input_ids"].size for each in feeds))
    composed = QuantizedGraph(graph, quantized.layers, quantized.tables)
    quantization = describe_quantization(composed, calibration, {"sequence_same": same})
    return staged.with_variant(INT8, replace(variant, quantization=quantization))


def _calibration_texts(path: Path | None) -> list[str]:
    """Return all texts of the file `path`; without a path, an evenly spaced selection of the package's texts."""
    texts = read_calibration_texts(path)
    return texts if path else texts[:: max(1, len(texts) // _CALIBRATION_TEXTS)]


def _feeds(staged: Staged, texts: Sequence[str]) -> list[Feeds]:
    """Return `input_ids` and `attention_mask` of each text, int64 `[1, tokens]`."""
    spec = staged.section(TokenizerSpec)
    tokenizer = TextTokenizer(staged.folder / spec.file, spec)
    padded = [tokenizer.pad([tokens]) for tokens in tokenizer.encode(texts)]
    return [{"input_ids": ids, "attention_mask": mask} for ids, mask in padded]


def _greedy_summaries(staged: Staged, variant: str, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the token ids of each text's summary by greedy search."""
    model = staged_model(staged, variant, _ROLE, SummarizationSpec, TextTokenizer)
    max_length = min(_CALIBRATION_LENGTH, model.spec.defaults.max_length)
    greedy = SummarizeOptions(num_beams=1, min_length=0, max_length=max_length)
    summarizer = Summarizer(BeamSearchSummarizer(model))
    return [ids_of(summary) for summary in summarizer.summarize([[text] for text in texts], greedy)]
