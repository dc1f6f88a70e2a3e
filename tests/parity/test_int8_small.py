"""The int8 variant of small models: replaced products and tables, smoothing, and the error of the vectors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ml_bridge.artifacts.constants import data_file
from onnx_ml_bridge.graphs.graph_editor import GraphEditor
from onnx_ml_bridge.quantize.calibration import observe
from onnx_ml_bridge.quantize.matmul_groups import LinearGroup, constant, find_groups, find_tables
from onnx_ml_bridge.quantize.smoothquant import smooth
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.session import create_session
from small_exports import SmallExport, cosines, varied_texts
from small_models import ARCHITECTURES

# A layer has six products with constant weights. They read four activations, because the projections of queries, keys
# and values read the same one.
LINEARS_PER_LAYER, GROUPS_PER_LAYER, LAYERS = 6, 4, 2
OUTPUTS = ["token_embeddings", "sentence_embedding"]

every_architecture = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))


def load(export: SmallExport, variant: str) -> ir.Model:
    return ir.load(export.staging / export.graphs[variant].file)


def bytes_of(export: SmallExport, variant: str) -> int:
    file = export.graphs[variant].file
    return sum((export.staging / name).stat().st_size for name in (file, data_file(file)))


@every_architecture
def test_vectors_stay_close(small_int8, architecture):
    """Compare int8 vectors with fp32 vectors: the thresholds allow more than twice the measured errors.

    Depending on the architecture, the measured lowest cosine is 0.9940 (distilbert) to 0.9997, the mean 0.99988 to
    0.99998.
    """
    export, _ = small_int8(architecture)
    exact = export.embedder("fp32").embed(varied_texts()).vectors
    found = cosines(exact, export.embedder("int8").embed(varied_texts()).vectors)
    assert found.min() >= 0.985
    assert found.mean() >= 0.9997


@every_architecture
def test_every_product_has_a_high_signal_to_noise_ratio(small_int8, architecture):
    """The measured signal-to-noise ratio is 42.5 to 50.9 dB; rounding to 8 bits alone results in about 40 to 50 dB."""
    _, quantized = small_int8(architecture)
    assert len(quantized.layers) == LINEARS_PER_LAYER * LAYERS
    assert min(quantized.layers.values()) >= 38


@every_architecture
def test_every_product_with_constant_weights_is_replaced(small_int8, architecture):
    export, _ = small_int8(architecture)
    exact, rounded = (Counter(node.op_type for node in load(export, name).graph) for name in ("fp32", "int8"))
    assert rounded["MatMulIntegerToFloat"] == LINEARS_PER_LAYER * LAYERS
    # The remaining products multiply two activations: attention has two of them in every layer
    assert rounded["MatMul"] == exact["MatMul"] - LINEARS_PER_LAYER * LAYERS == 2 * LAYERS
    assert not find_groups(load(export, "int8").graph)


@every_architecture
def test_weights_and_large_tables_are_bytes(small_int8, architecture):
    export, quantized = small_int8(architecture)
    assert quantized.tables == ("encoder.embeddings.word_embeddings.weight",)
    graph = load(export, "int8").graph
    assert not find_tables(graph)
    tensors = [value.const_value for value in graph.initializers.values()]
    floats = [tensor for tensor in tensors if tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) == 2]
    # The matrices that stay in float32 are small: the embeddings of positions, token types and relative positions, and
    # the scales of the int8 word embeddings
    assert sum(tensor.size for tensor in floats) < 8000
    words = next(tensor for tensor in tensors if tensor.size > 1 << 16)
    assert words.dtype == ir.DataType.INT8
    # The measured size of int8 is 41% of the size of fp32. In real models, the percentage is lower (test_minilm.py
    # requires 27%). In small models, the graph is larger than the weights, and int8 does not make it smaller.
    assert bytes_of(export, "int8") <= 0.45 * bytes_of(export, "fp32")


def smoothed(export: SmallExport) -> tuple[ir.Model, list[LinearGroup], list[LinearGroup]]:
    """Return the fp32 graph after smoothing without rounding, and its groups of products before and after smoothing."""
    model, untouched = load(export, "fp32"), load(export, "fp32")
    groups = find_groups(model.graph)
    names = [str(group.activation.name) for group in groups]
    stats = observe(export.staging, export.graphs["fp32"].file, names, export.calibration())
    editor = GraphEditor(model.graph)
    smooth(editor, groups, stats)
    for group in groups:
        for linear in group.linears:
            linear.node.replace_input_with(1, editor.constant(linear.weight, name=f"{linear.name}_smoothed"))
    ir.external_data.load_to_model(model)  # the model is saved in another folder than its data file
    return model, find_groups(untouched.graph), groups


@every_architecture
def test_smoothing_alone_changes_no_output(small, architecture, tmp_path):
    """The measured maximum difference is 3.9e-7 for sentence embeddings.

    For token embeddings, it is 3.0e-6 of their largest element.
    """
    export = small(architecture)
    model, _, _ = smoothed(export)
    ir.save(model, tmp_path / "smoothed.onnx")
    sessions = [
        create_session(path, usable_cpus()) for path in (export.staging / "onnx/model.onnx", tmp_path / "smoothed.onnx")
    ]
    for feeds in export.calibration()[::4]:
        exact, found = (session.run(OUTPUTS, feeds) for session in sessions)
        assert np.abs(exact[0] - found[0]).max() <= 1e-5 * np.abs(exact[0]).max()
        assert np.abs(exact[1] - found[1]).max() <= 1e-5


@every_architecture
def test_smoothing_is_folded_wherever_it_can_be(small, architecture):
    export = small(architecture)
    _, before, after = smoothed(export)
    assert len(after) == GROUPS_PER_LAYER * LAYERS
    folded = [rows_scaled(old, new) for old, new in zip(before, after, strict=True)]
    producers = [group.activation.producer().op_type for group in before]
    # All products are smoothed, except the second product of the feed-forward network, whose input is computed by GELU
    assert folded == [producer != "Gelu" for producer in producers]
    assert Counter(producers) == {"LayerNormalization": 2 * LAYERS, "Reshape": LAYERS, "Gelu": LAYERS}


@every_architecture
def test_norms_and_value_projections_carry_the_scales(small, architecture):
    export = small(architecture)
    _, before, after = smoothed(export)
    for old, new in zip(before, after, strict=True):
        if old.activation.producer().op_type == "LayerNormalization":
            scale, folded = (constant(group.activation.producer().inputs[1]).numpy() for group in (old, new))
            assert not np.allclose(scale, folded, rtol=0.05)
    # Value projections are the only products whose columns are divided by smoothing scales
    divided = [columns_scaled(a.weight, b.weight) for a, b in linear_pairs(before, after)]
    assert sum(divided) == LAYERS


def linear_pairs(before: list[LinearGroup], after: list[LinearGroup]):
    for old, new in zip(before, after, strict=True):
        yield from zip(old.linears, new.linears, strict=True)


def rows_scaled(old: LinearGroup, new: LinearGroup) -> bool:
    """Return whether the rows of the group's first weight were scaled by different factors."""
    ratio = new.linears[0].weight / old.linears[0].weight
    return bool(np.ptp(ratio[:, 0]) > 1e-3)


def columns_scaled(old: np.ndarray, new: np.ndarray) -> bool:
    """Return whether the columns of a weight were scaled by different factors."""
    ratio = new / old
    return bool(np.ptp(ratio[0]) / ratio[0].mean() > 1e-3)
