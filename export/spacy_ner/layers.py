"""Builds the linear and maxout layers of thinc as nodes of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graphs.graph_builder import GraphBuilder
from .network import Affine


def affine(graph: GraphBuilder, x: ir.Value, layer: Affine) -> ir.Value:
    """Add the nodes of a linear layer to a graph and return its output; the shape `[n, in]` becomes `[n, out]`."""
    product = graph.op("MatMul", x, graph.constant(layer.weight.T))
    return graph.op("Add", product, graph.constant(layer.bias))


def max_over_pieces(graph: GraphBuilder, linear: ir.Value, pieces: int) -> ir.Value:
    """Add the nodes that compute the maximum of a maxout layer, and return their output.

    The shape `[n, pieces * out]` becomes `[n, out]`. In the input, the values of each piece are contiguous.
    """
    by_piece = graph.op("Reshape", linear, graph.constant([0, pieces, -1], np.int64))
    return linear if pieces == 1 else graph.op("ReduceMax", by_piece, graph.constant([1], np.int64), keepdims=0)


def piece_major(values: Any) -> Any:
    """Flatten `[out, pieces]` to `[pieces * out]`, so that the maximum over the pieces reads contiguous memory."""
    return np.ascontiguousarray(values.T).reshape(-1)
