"""fastembed opens an artifact's folder as a model of its own, without a hub, and gives the same vectors.

sentence-transformers' ONNX backend would read the folder too, but needs optimum, which cannot be installed beside the
versions this package builds with.
"""

from __future__ import annotations

import numpy as np
import pytest
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from onnx_ml_bridge.artifacts.layout import data_file, graph_file
from onnx_ml_bridge.runtime.embedding import SentenceEmbedder
from small_exports import cosines, varied_texts

DIM = 384
# fastembed pools the first output itself, or takes the pooled one as it is
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
    # Never fetched: the folder is named below; fastembed wants some source all the same
    TextEmbedding.add_custom_model(name, sources=ModelSource(hf="nobody/nothing"), dim=DIM, model_file=file,
                                   additional_files=[data_file(file)], **WAYS[way])  # fmt: skip
    return TextEmbedding(name, specific_model_path=str(folder), local_files_only=True, threads=2)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_fp32_is_the_same(minilm_artifact, way):
    """Seen: 2.2e-7."""
    model = open_folder(minilm_artifact, f"bridge/fp32 {way}", "fp32", way)
    found = np.stack(list(model.embed(varied_texts(), batch_size=8)))
    expected = SentenceEmbedder.open(minilm_artifact, "fp32").embed(varied_texts()).vectors
    assert found.shape == (len(varied_texts()), DIM)
    assert np.abs(found - expected).max() <= 1e-5


def test_int8_is_the_same_but_for_rounding(minilm_artifact):
    """Seen: 2.1e-7. No more is promised: fastembed sets its own session options, with which sums may be added up in
    another order and values on the edge between two levels round the other way.
    """
    model = open_folder(minilm_artifact, "bridge/int8", "int8", "pooled by the graph")
    found = np.stack(list(model.embed(varied_texts(), batch_size=8)))
    expected = SentenceEmbedder.open(minilm_artifact, "int8").embed(varied_texts()).vectors
    assert cosines(found, expected).min() >= 0.9999
