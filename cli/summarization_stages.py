"""The stages of a summarization build, each on the staging folder that the one before has filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..artifacts.constants import graph_file
from ..artifacts.manifest import Machine, Manifest, Variant
from ..export.source import LocalModel
from ..export.summarization.pipeline import SummarizationExport, export_model, load_model
from ..graphs.beam_search.composition import compose_graph
from ..graphs.files import describe_graph, save_graph
from ..parity.summarization.evaluation import SummaryParity, evaluate, summaries_per_second, write_evidence
from ..parity.summarization.inputs import SummaryInput, summary_inputs
from ..parity.summarization.original import OriginalSummarizer, load_original, original_summaries
from ..parity.summarization.references import read_references
from ..parity.summarization.report import write_summary_report
from ..quantize.calibration import describe_calibration, read_calibration_texts
from ..quantize.int8 import QuantizedGraph, describe_quantization
from ..quantize.summarization import quantize_parts
from ..runtime.summarization.summarize_options import SummarizeOptions
from ..runtime.summarization.summarizer import SummarizationModel, Summarizer, summarize_with_settings
from ..runtime.tokenizer import TextTokenizer
from .config import ModelConfig
from .manifests import compose_manifest

_ROLE = "generate"
# Every text is summarized, and its summary read again token by token: so many give each product thousands of rows.
_CALIBRATION_TEXTS = 96
_CALIBRATION_LENGTH = 64


@dataclass(frozen=True)
class Exported:
    """The variants in the staging folder."""

    staging: Path
    config: ModelConfig
    export: SummarizationExport
    variants: dict[str, Variant]


@dataclass(frozen=True)
class Proof:
    """What the parity stage found, and the speeds for the report, in summaries per second."""

    parity: SummaryParity
    speeds: dict[str, float]


def export(config: ModelConfig, model: LocalModel, staging: Path) -> Exported:
    """Write the fp32 graph, the tokenizer and the configuration files."""
    loaded = load_model(model.folder, allow_pickle=config.options.allow_pickle)
    exported = export_model(loaded, model.folder, staging)
    gate = config.gate_of("fp32") if "fp32" in config.variants else {}
    fp32 = Variant({_ROLE: describe_graph(exported.graph, exported.graph_file)}, gate, None)
    return Exported(staging, config, exported, {"fp32": fp32})


def quantize(exported: Exported) -> Exported:
    """Add the int8 variant, if it is wanted, calibrated on texts and on the greedy summaries fp32 makes of them."""
    if "int8" not in exported.config.variants:
        return exported
    texts = _calibration_texts(exported.config)
    tokenizer = _tokenizer(exported)
    encoded = tokenizer.encode(texts)
    pairs = [tokenizer.pad([tokens]) for tokens in encoded]
    feeds = [{"input_ids": ids, "attention_mask": mask} for ids, mask in pairs]
    sequences = _greedy(exported, "fp32", texts)
    quantized = quantize_parts(exported.export.parts, feeds, sequences)
    file = graph_file("model", "int8")
    graph = compose_graph(quantized.parts, exported.export.summarization, exported.export.tokenizer.pad_token_id)
    save_graph(graph, exported.staging, file)
    calibration = describe_calibration(texts, sum(len(tokens.ids) for tokens in encoded))
    described = Variant({_ROLE: describe_graph(graph, file)}, exported.config.gate_of("int8"), None)
    made = replace(exported, variants={**exported.variants, "int8": described})
    found = _greedy(made, "int8", texts)
    same = sum(a == b for a, b in zip(sequences, found, strict=True)) / len(sequences)
    whole = QuantizedGraph(graph, quantized.layers, quantized.tables)
    quantization = describe_quantization(whole, calibration, {"sequence_same": same})
    return replace(made, variants={**made.variants, "int8": replace(described, quantization=quantization)})


def prove(exported: Exported, model: LocalModel) -> Proof:
    """Compare every wanted variant with the original, loaded anew as its users load it."""
    config, spec, tokenizer = exported.config, exported.export.summarization, exported.export.tokenizer
    original = load_original(model.folder, spec.join, tokenizer.max_tokens, allow_pickle=config.options.allow_pickle)
    inputs = summary_inputs(spec.defaults, tokenizer.max_tokens, spec.max_target_tokens, config.options.parity_inputs)
    # Before any session is made: two libraries' thread pools in one process slow each other down
    expected = original_summaries(original, [each.messages for each in inputs], [each.settings for each in inputs])
    speeds = {"original": summaries_per_second(partial(_run_original, original), inputs)}
    references = [] if config.options.references is None else read_references(config.options.references)
    required = sorted(config.variants)
    summarizers = {name: _summarizer(exported, name) for name in {*required, *(["fp32"] if references else [])}}
    parity = evaluate(inputs, expected, summarizers, {name: config.gate_of(name) for name in required}, references)
    speeds |= {name: summaries_per_second(partial(_run, summarizers[name]), inputs) for name in required}
    return Proof(parity, speeds)


def compose(
    exported: Exported, model: LocalModel, proof: Proof, machine: Machine, versions: Mapping[str, str]
) -> Manifest:
    """Write evidence, golden cases and model card, drop what no variant needs, and give the manifest."""
    cases = write_evidence(proof.parity, machine, versions, exported.staging)
    return compose_manifest(
        exported,
        model,
        proof.parity,
        cases,
        machine,
        versions,
        tokenizer=exported.export.tokenizer,
        summarization=exported.export.summarization,
    )


def report(manifest: Manifest, proof: Proof, path: Path) -> None:
    """Write the report for people."""
    write_summary_report(proof.parity, manifest, proof.speeds, path)


def _calibration_texts(config: ModelConfig) -> list[str]:
    """The configuration's texts, all of them; of the package's own set an even selection."""
    texts = read_calibration_texts(config.calibration)
    return texts if config.calibration else texts[:: max(1, len(texts) // _CALIBRATION_TEXTS)]


def _run_original(original: OriginalSummarizer, inputs: Sequence[SummaryInput]) -> None:
    original_summaries(original, [each.messages for each in inputs], [each.settings for each in inputs])


def _run(summarizer: Summarizer, inputs: Sequence[SummaryInput]) -> None:
    summarize_with_settings(summarizer, [each.messages for each in inputs], [each.settings for each in inputs])


def _greedy(exported: Exported, variant: str, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of the summary of each text, searched with one beam."""
    longest = min(_CALIBRATION_LENGTH, exported.export.summarization.defaults.max_length)
    greedy = SummarizeOptions(num_beams=1, min_length=0, max_length=longest)
    found = _summarizer(exported, variant).summarize_detailed([[text] for text in texts], greedy)
    return [summary.token_ids for summary in found]


def _summarizer(exported: Exported, variant: str) -> Summarizer:
    graph, config = exported.variants[variant].graphs[_ROLE], exported.config
    return Summarizer(
        SummarizationModel(
            exported.staging,
            config.name,
            config.version,
            variant,
            graph,
            exported.export.summarization,
            _tokenizer(exported),
        )
    )


def _tokenizer(exported: Exported) -> TextTokenizer:
    spec = exported.export.tokenizer
    return TextTokenizer(exported.staging / spec.file, spec)
