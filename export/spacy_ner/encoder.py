"""The part of spaCy's networks that turns tokens into vectors, as two graphs (FORMAT.md, "spaCy: tokens to entities").

What depends on a token's type alone is in the graph of the types: its embedding, and what it adds to the first layer of
the encoder at each place of the window. Words repeat, so a runtime computes that once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .network import Affine, Maxout, Network, WindowLayer
from .tape import GraphTape, piece_major

# thinc adds this to a variance before it divides by its root
_EPSILON = 1e-8
_FLOAT = ir.DataType.FLOAT


def build_types_graph(network: Network) -> ir.Model:
    """The graph of the role `spacy_ner_types` or `spacy_parser_types`."""
    graph = GraphTape()
    first = network.encoder[0]
    embedded = _embedded(graph, network)
    indices, width = 2 * first.window + 1, first.maxout.weight.shape[0] * first.maxout.weight.shape[1]
    weight = np.concatenate(_weight_by_place(first), axis=1)
    bias = np.zeros((indices, width), np.float32)
    bias[first.window] = piece_major(first.maxout.bias)
    flat = graph.affine(embedded, Affine(weight.T, bias.reshape(-1)))
    return graph.model(
        {
            "embedded": (embedded, _FLOAT, ["types", network.width]),
            "contributions": (graph.reshape(flat, -1, indices, width), _FLOAT, ["types", indices, width]),
        }
    )


def token_vectors(graph: GraphTape, network: Network) -> ir.Value:
    """Float32 `[tokens, in]`, the input of the state layer, from what the types of the tokens give.

    The tokens are kept in two streams, those with even and those with odd numbers, where every layer but the first sees
    one neighbour on each side; else in one.
    """
    first, *others = network.encoder
    out, pieces, _ = first.maxout.weight.shape
    embedded = graph.input("embedded", _FLOAT, ["tokens", network.width])
    sums = graph.input("preactivation", _FLOAT, ["tokens", pieces * out])
    encoded = graph.op("Add", embedded, _normalized(graph, sums, first.maxout))
    streams = 2 if all(layer.window == 1 for layer in others) else 1
    x = graph.split(graph.reshape(encoded, -1, streams * network.width), streams)
    for layer in others:
        linear = _of_pairs(graph, x, layer) if streams == 2 else [_of_windows(graph, x[0], layer)]
        x = [
            graph.op("Add", before, _normalized(graph, values, layer.maxout))
            for before, values in zip(x, linear, strict=True)
        ]
    merged = x[0] if streams == 1 else graph.reshape(graph.op("Concat", *x, axis=1), -1, network.width)
    return graph.affine(merged, network.project)


def _embedded(graph: GraphTape, network: Network) -> ir.Value:
    """Float32 `[types, width]`; zeros for the gap, whose rows are -1."""
    count = 4 * len(network.columns)
    rows = graph.input("rows", ir.DataType.INT32, ["types", count])
    column = graph.constant([1], np.int64)
    columns = [graph.op("Squeeze", part, column) for part in graph.split(rows, count)]
    parts = [_summed_rows(graph, table, columns[4 * i : 4 * i + 4]) for i, table in enumerate(network.tables)]
    if network.vectors is not None:
        indices = graph.input("vectors", ir.DataType.INT32, ["types"])
        parts.append(graph.op("Gather", graph.constant(_with_zero_row(network.vectors)), indices))
    joined = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    mixed = _normalized(graph, graph.affine(joined, _linear(network.mixer)), network.mixer)
    is_gap = graph.op("Unsqueeze", graph.op("Less", columns[0], graph.constant(0, np.int32)), column)
    return graph.op("Where", is_gap, graph.constant(0, np.float32), mixed)


def _summed_rows(graph: GraphTape, table: Any, indices: Sequence[ir.Value]) -> ir.Value:
    constant = graph.constant(table)
    total = graph.op("Gather", constant, indices[0])
    for index in indices[1:]:
        total = graph.op("Add", total, graph.op("Gather", constant, index))
    return total


def _with_zero_row(table: Any) -> Any:
    """A table whose last row, the one that -1 takes, is zero: a word without a vector."""
    return np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])


def _normalized(graph: GraphTape, linear: ir.Value, layer: Maxout) -> ir.Value:
    """Maxout and layer normalization of `[n, pieces * out]`."""
    largest = graph.largest_piece(linear, layer.weight.shape[1])
    return graph.op(
        "LayerNormalization",
        largest,
        graph.constant(layer.norm_weight),
        graph.constant(layer.norm_bias),
        axis=-1,
        epsilon=_EPSILON,
    )


def _of_pairs(graph: GraphTape, x: Sequence[ir.Value], layer: WindowLayer) -> list[ir.Value]:
    """The linear part of a layer that sees one neighbour on each side, for the even and for the odd tokens.

    Two tokens next to each other share two of the three vectors that each sees, so that four products do for them where
    six would be made: the minimal filtering F(2, 3) of Winograd, Arithmetic Complexity of Computations (1980). With the
    vectors b, e, o, a (before, even, odd, after) and the weights l, m, r (left, middle, right):
    P = (e + o)(l + m + r)/2 and Q = (o - e)(l - m + r)/2 give bl + em + or = (b - o)l + P + Q for the even token and
    el + om + ar = (a - e)r + P - Q for the odd one.
    """
    even, odd = x
    left, middle, right = _weight_by_place(layer)
    before = graph.op("Pad", odd, graph.constant([1, 0, -1, 0], np.int64))  # each pair's neighbour, 0 past the end
    after = graph.op("Pad", even, graph.constant([-1, 0, 1, 0], np.int64))
    outer = (left.astype(np.float64) + right) / 2, middle.astype(np.float64) / 2
    plus, minus = (graph.constant(weight, np.float32) for weight in (outer[0] + outer[1], outer[0] - outer[1]))
    p = graph.op("Gemm", graph.op("Add", even, odd), plus, graph.constant(piece_major(layer.maxout.bias)))
    q = graph.op("MatMul", graph.op("Sub", odd, even), minus)
    return [
        graph.op("Gemm", graph.op("Sub", before, odd), graph.constant(left), graph.op("Add", p, q)),
        graph.op("Gemm", graph.op("Sub", after, even), graph.constant(right), graph.op("Sub", p, q)),
    ]


def _of_windows(graph: GraphTape, x: ir.Value, layer: WindowLayer) -> ir.Value:
    """The linear part of a layer for tokens between their neighbours; zeros past the ends."""
    window, axis, parts = layer.window, graph.constant([0], np.int64), []
    padded = graph.op("Pad", x, graph.constant([window, 0, window, 0], np.int64))
    for shift in range(2 * window + 1):
        end = shift - 2 * window if shift < 2 * window else np.iinfo(np.int64).max
        begin, stop = graph.constant([shift], np.int64), graph.constant([end], np.int64)
        parts.append(graph.op("Slice", padded, begin, stop, axis))
    joined = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    return graph.affine(joined, _linear(layer.maxout))


def _linear(layer: Maxout) -> Affine:
    """What a layer does before the maximum, `[n, in]` to `[n, pieces * out]`."""
    out, pieces, inputs = layer.weight.shape
    return Affine(layer.weight.transpose(1, 0, 2).reshape(pieces * out, inputs), piece_major(layer.bias))


def _weight_by_place(layer: WindowLayer) -> list[Any]:
    """The weights `[in, pieces * out]` of each place of the window, the leftmost first."""
    weight = _linear(layer.maxout).weight.T
    return [np.ascontiguousarray(part) for part in np.split(weight, 2 * layer.window + 1)]
