"""fastembed can load the folder of an artifact without a model hub, and returns the same vectors.

The ONNX backend of sentence-transformers could read the folder too, but it requires optimum, which cannot be installed
together with the library versions that this package builds with.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from onnx_ml_bridge import Embedder, Model
from onnx_ml_bridge.artifacts.constants import data_file, graph_file
from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING
from onnx_ml_bridge.parity.proof import check_gate
from onnx_ml_bridge.parity.sentence_embedding.comparison import compare
from onnx_ml_bridge.parity.texts import text_group
from onnx_ml_bridge.runtime import cpu
from small_exports import cosines, varied_texts

DIM = 384
# fastembed can pool the token embeddings (the graph's first output) itself, or use the graph's pooled output
WAYS = {
    "pooled by fastembed": {"pooling": PoolingType.MEAN, "normalization": True},
    "pooled by the graph": {
        "pooling": PoolingType.DISABLED,
        "normalization": False,
        "output_name": "sentence_embedding",
    },
}


def open_folder(folder, name: str, variant: str, way: str) -> TextEmbedding:
    file = graph_file("model", variant)
    # fastembed requires a model on the hub as the source, but does not download it, because the folder is passed below
    TextEmbedding.add_custom_model(
        name,
        sources=ModelSource(hf="nobody/nothing"),
        dim=DIM,
        model_file=file,
        additional_files=[data_file(file)],
        **WAYS[way],
    )
    return TextEmbedding(name, specific_model_path=str(folder), local_files_only=True, threads=cpu.usable_cpus())


@pytest.mark.parametrize("way", sorted(WAYS))
def test_fp32_is_the_same(minilm_artifact, way):
    """The measured maximum difference between the vectors by fastembed and by this package is 2.2e-7."""
    model = open_folder(minilm_artifact, f"bridge/fp32 {way}", "fp32", way)
    found = np.stack(list(model.embed(varied_texts(), batch_size=8)))
    expected = Embedder.open(Model(minilm_artifact, variant="fp32")).embed(varied_texts()).vectors
    assert found.shape == (len(varied_texts()), DIM)
    assert np.abs(found - expected).max() <= 1e-5


@pytest.fixture
def saturation_rule(monkeypatch):
    """Set the session option of FORMAT.md's saturation rule, because fastembed does not set session options."""

    class Options(ort.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            if cpu.needs_exact_kernel():
                self.add_session_config_entry("session.x64quantprecision", "1")

    monkeypatch.setattr(ort, "SessionOptions", Options)


@pytest.mark.usefixtures("saturation_rule")
def test_int8_satisfies_the_gate_of_the_artifact(minilm_artifact):
    """The int8 vectors by fastembed are as close to fp32 as those by this package, but not equal to them.

    In fastembed, ONNX Runtime fuses operators that our sessions do not fuse. Sums therefore differ in their last bits,
    and values near the boundary of two quantization levels are rounded differently. The vectors differ by up to 6e-3.
    The measured lowest cosine to fp32 is 0.99783 for both, the mean is 0.999208 and 0.999207.
    """
    model = open_folder(minilm_artifact, "bridge/int8", "int8", "pooled by the graph")
    texts = varied_texts()
    found = np.stack(list(model.embed(texts, batch_size=8)))
    original = Embedder.open(Model(minilm_artifact, variant="fp32")).embed(texts).vectors
    metrics = compare(original, found, [text_group(text) for text in texts], 0).metrics
    assert check_gate(SENTENCE_EMBEDDING.metrics, metrics, SENTENCE_EMBEDDING.gates["int8"]) == []
    ours = Embedder.open(Model(minilm_artifact, variant="int8")).embed(texts).vectors
    assert abs(cosines(found, original).mean() - cosines(ours, original).mean()) <= 1e-4
