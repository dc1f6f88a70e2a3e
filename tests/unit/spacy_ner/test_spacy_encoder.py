"""The linear part of the encoder's window layers: both ways to compute it agree with a reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx_ml_bridge.export.spacy_ner import encoder
from onnx_ml_bridge.export.spacy_ner.network import Maxout, WindowLayer
from onnx_ml_bridge.graphs.graph_builder import GraphBuilder

WIDTH, OUT, PIECES = 5, 4, 3


def layer_of(window: int, seed: int) -> WindowLayer:
    source = np.random.default_rng(seed)
    weight = source.standard_normal((OUT, PIECES, (2 * window + 1) * WIDTH)).astype(np.float32)
    bias = source.standard_normal((OUT, PIECES)).astype(np.float32)
    return WindowLayer(window, Maxout(weight, bias, np.ones(OUT, np.float32), np.zeros(OUT, np.float32)))


def run(x: Any, streams: int, linear: Callable[[GraphBuilder, Any], list[ir.Value]]) -> Any:
    """Return a layer's linear part for tokens `[n, WIDTH]`; token i is in the input tensor i % `streams`."""
    graph = GraphBuilder()
    value = graph.input("x", ir.DataType.FLOAT, ["tokens", WIDTH])
    found = linear(graph, graph.split(graph.reshape(value, -1, streams * WIDTH), streams))
    joined = found[0] if streams == 1 else graph.op("Concat", *found, axis=1)
    merged = graph.reshape(joined, -1, PIECES * OUT)
    model = graph.model({"y": (merged, ir.DataType.FLOAT, ["tokens", PIECES * OUT])})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def expected(x: Any, layer: WindowLayer) -> Any:
    """Return the linear part of a layer, computed in float64 as a reference: `[tokens, pieces * out]`."""
    window = layer.window
    padded = np.pad(x.astype(np.float64), ((window, window), (0, 0)))
    seen = np.stack([padded[token : token + 2 * window + 1].reshape(-1) for token in range(len(x))])
    by_piece = np.einsum("ti,opi->tpo", seen, layer.maxout.weight.astype(np.float64)) + layer.maxout.bias.T
    return by_piece.reshape(len(x), -1)


@pytest.mark.parametrize("tokens", [2, 4, 10, 64])
def test_linear_of_pairs(tokens):
    layer = layer_of(1, tokens)
    x = np.random.default_rng(tokens).standard_normal((tokens, WIDTH)).astype(np.float32)
    found = run(x, 2, lambda graph, streams: encoder._linear_of_pairs(graph, streams, layer))
    assert np.abs(found - expected(x, layer)).max() < 1e-5
    assert np.abs(found).max() > 1


@pytest.mark.parametrize(("window", "tokens"), [(0, 3), (1, 1), (1, 7), (2, 1), (2, 9), (3, 2)])
def test_linear_of_windows(window, tokens):
    layer = layer_of(window, tokens)
    x = np.random.default_rng(tokens).standard_normal((tokens, WIDTH)).astype(np.float32)
    found = run(x, 1, lambda graph, streams: [encoder._linear_of_windows(graph, streams[0], layer)])
    assert np.abs(found - expected(x, layer)).max() < 1e-5
