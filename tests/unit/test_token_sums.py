"""Sums over tokens in blocks: their error for long texts, and that other sums stay as they are."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ml_bridge.graphs.files import IR_VERSION, OPSET
from onnx_ml_bridge.graphs.graph_builder import initializer
from onnx_ml_bridge.graphs.token_sums import sum_in_blocks
from onnxruntime import InferenceSession


def graph_of(axis: int, rank: int = 3) -> ir.Model:
    """Return a model that sums x over an axis."""
    x = ir.val("x", ir.DataType.FLOAT, ["batch", "tokens", *[4] * (rank - 2)])
    axes = initializer("axes", np.array([axis], np.int64))
    node = ir.node("ReduceSum", [x, axes], {"keepdims": 0}, name="sum")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[axes], opset_imports={"": OPSET}, name="main")
    return ir.Model(graph, ir_version=IR_VERSION)


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    session = InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def test_the_sum_of_many_equal_tokens_is_exact_to_the_last_digits():
    x = np.full((1, 8192, 4), 2.4, np.float32)
    expected, model = x.astype(np.float64).sum(1), graph_of(1)
    plain = np.abs(run(model, x) / expected - 1).max()
    sum_in_blocks(model.graph)
    assert np.abs(run(model, x) / expected - 1).max() < 2e-6 < plain


@pytest.mark.parametrize("tokens", [1, 2, 255, 256, 257, 511, 512, 513, 1000])
def test_a_sum_is_the_same_alone_and_in_a_padded_batch(tokens):
    model = graph_of(1)
    sum_in_blocks(model.graph)
    x = np.random.default_rng(tokens).normal(size=(3, tokens + 300, 4)).astype(np.float32)
    x[:, tokens:] = 0
    together = run(model, x)
    assert np.abs(together - x.astype(np.float64).sum(1)).max() < 1e-4
    for row in range(3):
        np.testing.assert_array_equal(run(model, x[row : row + 1, :tokens])[0], together[row])


@pytest.mark.parametrize(("axis", "rank"), [(2, 3), (0, 3), (1, 2), (1, 4)])
def test_other_sums_stay(axis, rank):
    model = graph_of(axis, rank)
    sum_in_blocks(model.graph)
    assert [node.op_type for node in model.graph] == ["ReduceSum"]
