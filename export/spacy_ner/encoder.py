"""The token vectors of a spaCy network, as two graphs (FORMAT.md, "spaCy: tokens to entities").

A *word type* stands for all tokens with the same text, norm and trailing space. The graph of the *types* computes
everything that depends only on the word type of a token: its embedding, and its contribution to the first layer of the
encoder at each position of the window. Texts repeat words, so the runtime computes this once per type. The other graph
computes the rest for every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graphs.graph_builder import GraphBuilder
from .layers import affine, max_over_pieces, piece_major
from .network import Affine, Maxout, Network, WindowLayer

# The constant that thinc adds to the variance in a layer normalization, to avoid a division by zero
_EPSILON = 1e-8
_FLOAT = ir.DataType.FLOAT


def new_graph() -> GraphBuilder:
    """Return a graph builder that names values by running numbers, so that rebuilt artifacts have the same names."""
    return GraphBuilder(names_values=False)


def build_types_graph(network: Network) -> ir.Model:
    """Return the graph of the word types (role `spacy_ner_types` or `spacy_parser_types`).

    Its outputs are the embedding of each type and the contribution of each type to the first layer of the encoder.
    """
    graph = new_graph()
    first = network.encoder[0]
    embedded = _type_embeddings(graph, network)
    count, width = 2 * first.window + 1, first.maxout.weight.shape[0] * first.maxout.weight.shape[1]
    weight = np.concatenate(_weights_by_position(first), axis=1)
    bias = np.zeros((count, width), np.float32)
    bias[first.window] = piece_major(first.maxout.bias)
    flat = affine(graph, embedded, Affine(weight.T, bias.reshape(-1)))
    return graph.model(
        {
            "embedded": (embedded, _FLOAT, ["types", network.width]),
            "contributions": (graph.reshape(flat, -1, count, width), _FLOAT, ["types", count, width]),
        }
    )


def token_vectors(graph: GraphBuilder, network: Network) -> ir.Value:
    """Add the encoder to a graph and return its output, the input of the state layer: float32 `[tokens, in]`.

    The inputs of the graph are `embedded` `[tokens, width]` and `preactivation` `[tokens, pieces * out]`, which is the
    sum of the types' contributions to the first layer. If every later layer has a window of 1, the tokens with even
    index and those with odd index are two tensors (`_linear_of_pairs`).
    """
    first, *others = network.encoder
    out, pieces, _ = first.maxout.weight.shape
    embedded = graph.input("embedded", _FLOAT, ["tokens", network.width])
    sums = graph.input("preactivation", _FLOAT, ["tokens", pieces * out])
    encoded = graph.op("Add", embedded, _maxout(graph, sums, first.maxout))
    streams = 2 if all(layer.window == 1 for layer in others) else 1
    x = graph.split(graph.reshape(encoded, -1, streams * network.width), streams)
    for layer in others:
        linear = _linear_of_pairs(graph, x, layer) if streams == 2 else [_linear_of_windows(graph, x[0], layer)]
        x = [
            graph.op("Add", residual, _maxout(graph, values, layer.maxout))
            for residual, values in zip(x, linear, strict=True)
        ]
    merged = x[0] if streams == 1 else graph.reshape(graph.op("Concat", *x, axis=1), -1, network.width)
    return affine(graph, merged, network.project)


def _type_embeddings(graph: GraphBuilder, network: Network) -> ir.Value:
    """Return the embeddings of the word types, float32 `[types, width]`.

    Padding tokens separate the documents of a run. All table rows of their type are -1; its embedding is zero.
    """
    count = 4 * len(network.columns)
    rows = graph.input("rows", ir.DataType.INT32, ["types", count])
    column = graph.constant([1], np.int64)
    columns = [graph.op("Squeeze", each, column) for each in graph.split(rows, count)]
    vectors = [_row_sum(graph, table, columns[4 * i : 4 * i + 4]) for i, table in enumerate(network.tables)]
    if network.vectors is not None:
        indices = graph.input("vectors", ir.DataType.INT32, ["types"])
        vectors.append(graph.op("Gather", graph.constant(_with_zero_row(network.vectors)), indices))
    concatenated = vectors[0] if len(vectors) == 1 else graph.op("Concat", *vectors, axis=1)
    mixed = _maxout(graph, affine(graph, concatenated, _linear(network.mixer)), network.mixer)
    is_gap = graph.op("Unsqueeze", graph.op("Less", columns[0], graph.constant(0, np.int32)), column)
    return graph.op("Where", is_gap, graph.constant(0, np.float32), mixed)


def _row_sum(graph: GraphBuilder, table: Any, indices: Sequence[ir.Value]) -> ir.Value:
    """Return, for each type, the sum of the table rows that the tensors `indices` select for it, `[types, width]`."""
    constant = graph.constant(table)
    total = graph.op("Gather", constant, indices[0])
    for index in indices[1:]:
        total = graph.op("Add", total, graph.op("Gather", constant, index))
    return total


def _with_zero_row(table: Any) -> Any:
    """Append a row of zeros to a table of vectors; the index -1, for words without a vector, selects this last row."""
    return np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])


def _maxout(graph: GraphBuilder, linear: ir.Value, layer: Maxout) -> ir.Value:
    """Add a maxout layer's maximum and normalization to the graph; the shape `[n, pieces * out]` becomes `[n, out]`."""
    largest = max_over_pieces(graph, linear, layer.weight.shape[1])
    scale, bias = graph.constant(layer.norm_weight), graph.constant(layer.norm_bias)
    return graph.op("LayerNormalization", largest, scale, bias, axis=-1, epsilon=_EPSILON)


def _linear_of_pairs(graph: GraphBuilder, x: Sequence[ir.Value], layer: WindowLayer) -> list[ir.Value]:
    """Apply the linear part of a layer with a window of 1 to the tokens with even and with odd index.

    Two adjacent tokens have two of their three inputs in common, so four products are enough instead of six. This is
    the minimal filtering F(2, 3) of Winograd, Arithmetic Complexity of Computations (1980). Let b, e, o, a be the
    vectors (before, even, odd, after) and l, m, r the weights (left, middle, right). With P = (e + o)(l + m + r)/2 and
    Q = (o - e)(l - m + r)/2, bl + em + or = (b - o)l + P + Q for the even token, and
    el + om + ar = (a - e)r + P - Q for the odd token.
    """
    even, odd = x
    left, middle, right = _weights_by_position(layer)
    # The tokens before and after each pair of tokens; zeros past the ends of the run
    before = graph.op("Pad", odd, graph.constant([1, 0, -1, 0], np.int64))
    after = graph.op("Pad", even, graph.constant([-1, 0, 1, 0], np.int64))
    outer, center = (left.astype(np.float64) + right) / 2, middle.astype(np.float64) / 2
    plus, minus = (graph.constant(weight, np.float32) for weight in (outer + center, outer - center))
    p = graph.op("Gemm", graph.op("Add", even, odd), plus, graph.constant(piece_major(layer.maxout.bias)))
    q = graph.op("MatMul", graph.op("Sub", odd, even), minus)
    return [
        graph.op("Gemm", graph.op("Sub", before, odd), graph.constant(left), graph.op("Add", p, q)),
        graph.op("Gemm", graph.op("Sub", after, even), graph.constant(right), graph.op("Sub", p, q)),
    ]


def _linear_of_windows(graph: GraphBuilder, x: ir.Value, layer: WindowLayer) -> ir.Value:
    """Apply a layer's linear part to tokens `[tokens, in]` and their neighbors, which are zero past the run's ends."""
    window, axis, shifted = layer.window, graph.constant([0], np.int64), []
    padded = graph.op("Pad", x, graph.constant([window, 0, window, 0], np.int64))
    for shift in range(2 * window + 1):
        end = shift - 2 * window if shift < 2 * window else np.iinfo(np.int64).max
        begin, stop = graph.constant([shift], np.int64), graph.constant([end], np.int64)
        shifted.append(graph.op("Slice", padded, begin, stop, axis))
    concatenated = shifted[0] if len(shifted) == 1 else graph.op("Concat", *shifted, axis=1)
    return affine(graph, concatenated, _linear(layer.maxout))


def _linear(layer: Maxout) -> Affine:
    """Return the linear part of a maxout layer, `[n, in]` to `[n, pieces * out]`."""
    out, pieces, inputs = layer.weight.shape
    return Affine(layer.weight.transpose(1, 0, 2).reshape(pieces * out, inputs), piece_major(layer.bias))


def _weights_by_position(layer: WindowLayer) -> list[Any]:
    """Return the weights `[in, pieces * out]` of each position of the window, from left to right."""
    weight = _linear(layer.maxout).weight.T
    return [np.ascontiguousarray(each) for each in np.split(weight, 2 * layer.window + 1)]
