"""Run the stages of a build on small sentence embedding models, as far as a test needs them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx_ml_bridge import Embedder
from onnx_ml_bridge.artifacts.constants import FORMAT_VERSION, GOLDEN, PARITY, graph_file
from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING, EmbeddingCase
from onnx_ml_bridge.artifacts.golden import write_golden
from onnx_ml_bridge.artifacts.manifest import GoldenSpec, Graph, Machine, Manifest, ParitySpec, Source, Variant
from onnx_ml_bridge.artifacts.seal import list_files, seal, staging_for
from onnx_ml_bridge.export.sentence_embedding.pipeline import EmbeddingExport, export_pipeline, load_pipeline
from onnx_ml_bridge.graphs.files import describe_graph, save_graph
from onnx_ml_bridge.parity.sentence_embedding.original import (
    EmbeddingInput,
    OriginalEmbeddings,
    load_original,
    original_embeddings,
)
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.quantize.calibration import describe_calibration, read_calibration_texts
from onnx_ml_bridge.quantize.int8 import QuantizedGraph, describe_quantization, quantize_graph
from onnx_ml_bridge.runtime.sentence_embedding import EmbeddingModel, SentenceEmbedder, encoder_feeds
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from small_models import make_model

Feeds = dict[str, NDArray[np.int64]]

_EVERY = 7
_CALIBRATION_TEXTS = 64
# Texts that `varied_texts` always includes. The lines are short because ruff counts wide characters twice.
_ODD = (
    *("", " \n\t ", "🎉", "👩‍👩‍👧 🏳️‍🌈 and some words", "Ünïcödé", "日本語のテスト"),
    *("שלום עולם", "नमस्ते दुनिया", "Привет, мир", "안녕하세요"),
)


@dataclass(frozen=True)
class SmallExport:
    """A small model, its export in `staging`, and its variants by name."""

    source: Path
    staging: Path
    export: EmbeddingExport
    graphs: dict[str, Graph]
    tokenizer: TextTokenizer

    def embedder(self, variant: str = "fp32", **options: Any) -> Embedder:
        """Return the handle of one variant, created as in a build; `options` are those of `SentenceEmbedder`."""
        model = EmbeddingModel(
            self.staging, "small", "1", variant, self.graphs[variant], self.export.embedding, self.tokenizer
        )
        return Embedder(SentenceEmbedder(model, **options))

    def original(self, texts: Sequence[str], prompt_name: str | None = None) -> OriginalEmbeddings:
        """Return the embeddings of the original model."""
        return original_embeddings(load_original(self.source), [EmbeddingInput(text, prompt_name) for text in texts])

    def calibration(self) -> list[Feeds]:
        """Return inputs for the calibration of int8, one text each; fewer than in a build."""
        encoded = self.tokenizer.encode(read_calibration_texts(None)[::5][:_CALIBRATION_TEXTS])
        return [encoder_feeds(self.graphs["fp32"], *self.tokenizer.pad([tokens])) for tokens in encoded]


def export_small(folder: Path, architecture: str, **options: Any) -> SmallExport:
    """Create the model with these options (see `make_model`) and export it."""
    return export_saved(make_model(folder, architecture, **options), folder / "staging")


def export_saved(source: Path, staging: Path) -> SmallExport:
    """Export the model in `source` to a new folder."""
    staging.mkdir()
    exported = export_pipeline(load_pipeline(source), source, staging)
    graphs = {"fp32": describe_graph(exported.graph, exported.graph_file)}
    tokenizer = TextTokenizer(staging / exported.tokenizer.file, exported.tokenizer)
    return SmallExport(source, staging, exported, graphs, tokenizer)


def add_int8(small: SmallExport) -> QuantizedGraph:
    """Quantize the export and save the result as its variant `int8`."""
    quantized = quantize_graph(small.staging, small.export.graph_file, small.calibration())
    file = graph_file("model", "int8")
    save_graph(quantized.model, small.staging, file)
    small.graphs["int8"] = describe_graph(quantized.model, file)
    return quantized


def seal_small(small: SmallExport, target: Path, cases: Sequence[EmbeddingCase], int8: QuantizedGraph) -> Path:
    """Seal a copy of the export as an artifact with these golden cases; `int8` is the result of `add_int8`."""
    inputs = small.calibration()
    calibration = describe_calibration(["small"], sum(feeds["input_ids"].size for feeds in inputs))
    quantization = {"int8": describe_quantization(int8, calibration, {})}
    gates = {"fp32": {"max_abs": 1e-5}, "int8": {"cosine_min": 0.99}}
    with staging_for(target) as staging:
        shutil.copytree(small.staging, staging, dirs_exist_ok=True)
        write_golden(cases, staging / GOLDEN)
        (staging / PARITY).write_bytes(b"{}\n")
        variants = {
            name: Variant({"encoder": graph}, gates[name], quantization.get(name))
            for name, graph in small.graphs.items()
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            task=SENTENCE_EMBEDDING.task,
            task_revision=SENTENCE_EMBEDDING.revision,
            engine=SENTENCE_EMBEDDING.engine,
            name=target.name,
            version="1",
            source=Source("path", "small", None, "0" * 64, None),
            builder={"onnx-ml-bridge": "0", "recipe": "small_exports"},
            variants=variants,
            parity=ParitySpec(PARITY, len(cases), Machine("any", (), 1), {name: {} for name in variants}),
            golden=GoldenSpec(GOLDEN, len(cases)),
            files=list_files(staging),
            sections={"tokenizer": small.export.tokenizer, "embedding": small.export.embedding},
        )
        seal(staging, manifest, target)
    return target


@cache
def varied_texts() -> list[str]:
    """Return about 90 texts: every seventh parity text, empty texts, whitespace, emoji and texts in other scripts."""
    return [*parity_texts()[::_EVERY], *_ODD]


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines of the rows of `a` and the same rows of `b`."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    result: NDArray[np.float64] = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return result
