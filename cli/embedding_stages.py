"""The stages of a sentence embedding build, each on the staging folder that the one before has filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..artifacts.constants import graph_file
from ..artifacts.manifest import Machine, Manifest, Variant
from ..export.sentence_embedding.pipeline import EmbeddingExport, export_pipeline, load_pipeline
from ..export.source import LocalModel
from ..graphs.files import describe_graph, save_graph
from ..parity.sentence_embedding.evaluation import EmbeddingParity, evaluate, texts_per_second, write_evidence
from ..parity.sentence_embedding.original import load_original
from ..parity.sentence_embedding.report import write_report
from ..quantize.calibration import describe_calibration, read_calibration_texts
from ..quantize.int8 import describe_quantization, output_error, quantize_graph
from ..runtime.sentence_embedding import EmbeddingModel, SentenceEmbedder, encoder_feeds
from ..runtime.tokenizer import TextTokenizer
from .config import ModelConfig
from .manifests import compose_manifest

_OUTPUT = "sentence_embedding"


@dataclass(frozen=True)
class Exported:
    """The fp32 variant in the staging folder."""

    staging: Path
    config: ModelConfig
    export: EmbeddingExport
    variants: dict[str, Variant]


def export(config: ModelConfig, model: LocalModel, staging: Path) -> Exported:
    """Write the fp32 graph, the tokenizer and the configuration files."""
    pipeline = load_pipeline(model.folder, allow_pickle=config.options.allow_pickle)
    exported = export_pipeline(pipeline, model.folder, staging)
    graph = describe_graph(exported.graph, exported.graph_file)
    fp32 = Variant({"encoder": graph}, config.gate_of("fp32") if "fp32" in config.variants else {}, None)
    return Exported(staging, config, exported, {"fp32": fp32})


def quantize(exported: Exported) -> Exported:
    """Add the int8 variant, if it is wanted."""
    if "int8" not in exported.config.variants:
        return exported
    staging, fp32 = exported.staging, exported.export.graph_file
    texts = read_calibration_texts(exported.config.calibration)
    tokenizer = _tokenizer(exported)
    encoded = tokenizer.encode(texts)
    graph = exported.variants["fp32"].graphs["encoder"]
    inputs = [encoder_feeds(graph, *tokenizer.pad([tokens])) for tokens in encoded]
    quantized = quantize_graph(staging, fp32, inputs)
    file = graph_file("model", "int8")
    save_graph(quantized.model, staging, file)
    calibration = describe_calibration(texts, sum(len(tokens.ids) for tokens in encoded))
    described = describe_quantization(quantized, calibration, output_error(staging, fp32, file, _OUTPUT, inputs))
    int8 = Variant({"encoder": describe_graph(quantized.model, file)}, exported.config.gate_of("int8"), described)
    return replace(exported, variants={**exported.variants, "int8": int8})


@dataclass(frozen=True)
class Proof:
    """What the parity stage found, and the speeds for the report."""

    parity: EmbeddingParity
    speeds: dict[str, float]


def prove(exported: Exported, model: LocalModel) -> Proof:
    """Compare every wanted variant with the original, loaded anew as its users load it."""
    original = load_original(model.folder, allow_pickle=exported.config.options.allow_pickle)
    tokenizer = _tokenizer(exported)
    embedders = {name: SentenceEmbedder(_model(exported, name, tokenizer)) for name in sorted(exported.config.variants)}
    # Before any session is made: two libraries' thread pools in one process slow each other down
    speeds = {"original": texts_per_second(partial(original.encode, batch_size=32, show_progress_bar=False))}
    parity = evaluate(original, embedders, {name: exported.config.gate_of(name) for name in embedders})
    speeds |= {name: texts_per_second(embedder.embed) for name, embedder in embedders.items()}
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
        embedding=exported.export.embedding,
    )


def report(manifest: Manifest, proof: Proof, path: Path) -> None:
    """Write the report for people."""
    write_report(proof.parity, manifest, proof.speeds, path)


def _model(exported: Exported, variant: str, tokenizer: TextTokenizer) -> EmbeddingModel:
    graph = exported.variants[variant].graphs["encoder"]
    config = exported.config
    return EmbeddingModel(
        exported.staging, config.name, config.version, variant, graph, exported.export.embedding, tokenizer
    )


def _tokenizer(exported: Exported) -> TextTokenizer:
    spec = exported.export.tokenizer
    return TextTokenizer(exported.staging / spec.file, spec)
