"""The ONNX graphs of spaCy's transition-based components (FORMAT.md, "spaCy: tokens to entities").

Everything that depends on the tokens alone is in the graph; what depends on a state (which entity is open, what is on
the stack) is a few additions that the runtime makes with the graph's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from ..graph_files import OPSET, clean
from .moves import NerMoves
from .network import Affine, Maxout, Network, WindowLayer

_IR_VERSION = 10
# thinc adds this to a variance before it divides by its root
_EPSILON = 1e-8


class _Graph:
    """A graph under construction: inputs as they are asked for, constants stored once."""

    def __init__(self) -> None:
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def input(self, name: str, dtype: ir.DataType, dims: Sequence[str | int]) -> ir.Value:
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(dims))
        self._inputs.append(value)
        return value

    def constant(self, array: Any, dtype: Any = None) -> ir.Value:
        data = np.asarray(array, dtype, order="C")
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = self._tape.initializer(ir.tensor(data, name=name), name)
        return self._constants[key]

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        return self._tape.op(kind, list(inputs), attributes)

    def split(self, value: ir.Value, parts: int, axis: int) -> Sequence[ir.Value]:
        if parts == 1:
            return [value]
        return self._tape.op_multi_out("Split", [value], {"axis": axis, "num_outputs": parts}, num_outputs=parts)

    def largest(self, values: Sequence[ir.Value]) -> ir.Value:
        return values[0] if len(values) == 1 else self.op("Max", *values)

    def model(self, outputs: dict[str, tuple[ir.Value, ir.DataType, Sequence[str | int]]]) -> ir.Model:
        """The finished model; `outputs` gives each output's value, element type and dimensions by name."""
        values = []
        for name, (value, dtype, dims) in outputs.items():
            value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(dims)
            values.append(value)
        graph = ir.Graph(self._inputs, values, nodes=self._tape.nodes, initializers=self._tape.initializers,
                         opset_imports={"": OPSET}, name="main")  # fmt: skip
        model = ir.Model(graph, ir_version=_IR_VERSION)
        clean(model)
        return model


def build_ner_graph(network: Network, moves: NerMoves) -> ir.Model:
    """The graph of the role `spacy_ner`."""
    graph = _Graph()
    tokens = _token_vectors(graph, network)
    is_space = graph.input("is_space", ir.DataType.BOOL, ["tokens"])
    is_last = graph.input("is_last", ir.DataType.BOOL, ["tokens"])
    current, first, previous = (graph.op("MatMul", tokens, graph.constant(_feature_weight(network, place)))
                                for place in range(3))  # fmt: skip
    # No entity is open: the second and third place of the state are empty
    fixed = _piece_major(network.lower_padding[1]) + _piece_major(network.lower_padding[2])
    state = graph.op("Add", current, graph.constant(fixed + _piece_major(network.lower_bias)))
    hidden = graph.largest(graph.split(state, network.pieces, axis=1))
    scores = _affine(graph, hidden, Affine(network.upper.weight[moves.closed], network.upper.bias[moves.closed]))
    best = _best_closed_move(graph, scores, moves, is_space, is_last)
    width = network.pieces * network.hidden
    label = graph.op("Gather", graph.constant(moves.closed_labels, np.int32), best)
    begins = graph.op("Gather", graph.constant(moves.closed_begins), best)
    return graph.model({
        "label": (label, ir.DataType.INT32, ["tokens"]),
        "begins": (begins, ir.DataType.BOOL, ["tokens"]),
        "current": (current, ir.DataType.FLOAT, ["tokens", width]),
        "first": (first, ir.DataType.FLOAT, ["tokens", width]),
        "previous": (previous, ir.DataType.FLOAT, ["tokens", width]),
    })  # fmt: skip


def build_parser_graph(network: Network) -> ir.Model:
    """The graph of the role `spacy_parser`."""
    graph = _Graph()
    tokens = _token_vectors(graph, network)
    places, width = network.lower.shape[0], network.pieces * network.hidden
    weight = np.concatenate([_feature_weight(network, place) for place in range(places)], axis=1)
    flat = graph.op("MatMul", tokens, graph.constant(weight))
    features = graph.op("Reshape", flat, graph.constant([-1, places, width], np.int64))
    return graph.model({"features": (features, ir.DataType.FLOAT, ["tokens", places, width])})


def _best_closed_move(graph: _Graph, scores: ir.Value, moves: NerMoves, space: ir.Value, last: ir.Value) -> ir.Value:
    """Index of the best valid move: an entity may not begin on whitespace, nor one of several tokens on a last one."""
    column = graph.constant([1], np.int64)
    on_space, on_last = graph.op("Unsqueeze", space, column), graph.op("Unsqueeze", last, column)
    begins = graph.constant(moves.closed_begins[None])
    enters = graph.constant(moves.closed_labels[None] >= 0)
    invalid = graph.op("Or", graph.op("And", on_last, begins), graph.op("And", on_space, enters))
    allowed = graph.op("Where", invalid, graph.constant(-np.inf, np.float32), scores)
    return graph.op("ArgMax", allowed, axis=1, keepdims=0)


def _token_vectors(graph: _Graph, network: Network) -> ir.Value:
    """Float32 `[tokens, in]`: the input of the state layer. Types are embedded once, then every token is encoded."""
    rows = graph.input("rows", ir.DataType.INT32, ["types", 4 * len(network.columns)])
    types = graph.input("token_types", ir.DataType.INT32, ["tokens"])
    columns = [graph.op("Squeeze", column, graph.constant([1], np.int64))
               for column in graph.split(rows, 4 * len(network.columns), axis=1)]  # fmt: skip
    parts = [_summed_rows(graph, network.tables[i], columns[4 * i : 4 * i + 4]) for i in range(len(network.columns))]
    if network.vectors is not None:
        places = graph.input("vectors", ir.DataType.INT32, ["types"])
        parts.append(graph.op("Gather", graph.constant(_with_zero_row(network.vectors)), places))
    embedded = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    mixed = _maxout(graph, embedded, network.mixer)
    zero = graph.constant(np.zeros((1, network.mixer.weight.shape[0])), np.float32)
    x = graph.op("Gather", graph.op("Concat", mixed, zero, axis=0), types)  # -1, a gap, takes the last row
    for layer in network.encoder:
        x = graph.op("Add", x, _maxout(graph, _windows(graph, x, layer), layer.maxout))
    return _affine(graph, x, network.project)


def _summed_rows(graph: _Graph, table: Any, places: Sequence[ir.Value]) -> ir.Value:
    constant = graph.constant(table)
    total = graph.op("Gather", constant, places[0])
    for place in places[1:]:
        total = graph.op("Add", total, graph.op("Gather", constant, place))
    return total


def _with_zero_row(table: Any) -> Any:
    """A table whose last row, the one that -1 takes, is zero: a word without a vector."""
    return np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])


def _windows(graph: _Graph, x: ir.Value, layer: WindowLayer) -> ir.Value:
    """Each token's vector between its neighbours', `[tokens, (2 * window + 1) * width]`; zeros past the ends."""
    window = layer.window
    padded = graph.op("Pad", x, graph.constant([window, 0, window, 0], np.int64))
    axis, parts = graph.constant([0], np.int64), []
    for shift in range(2 * window + 1):
        end = shift - 2 * window if shift < 2 * window else np.iinfo(np.int64).max
        begin, stop = graph.constant([shift], np.int64), graph.constant([end], np.int64)
        parts.append(graph.op("Slice", padded, begin, stop, axis))
    return graph.op("Concat", *parts, axis=1)


def _maxout(graph: _Graph, x: ir.Value, layer: Maxout) -> ir.Value:
    """Maxout and layer normalization. Pieces are made the outer dimension, so that the maximum is over whole slices."""
    out, pieces, inputs = layer.weight.shape
    weight = layer.weight.transpose(1, 0, 2).reshape(pieces * out, inputs)
    linear = _affine(graph, x, Affine(weight, layer.bias.T.reshape(-1)))
    largest = graph.largest(graph.split(linear, pieces, axis=1))
    return graph.op("LayerNormalization", largest, graph.constant(layer.norm_weight), graph.constant(layer.norm_bias),
                    axis=-1, epsilon=_EPSILON)  # fmt: skip


def _affine(graph: _Graph, x: ir.Value, layer: Affine) -> ir.Value:
    return graph.op("Add", graph.op("MatMul", x, graph.constant(layer.weight.T)), graph.constant(layer.bias))


def _feature_weight(network: Network, place: int) -> Any:
    """Weight `[in, pieces * hidden]` of one place of the state."""
    weight = network.lower[place].transpose(1, 0, 2)
    return weight.reshape(-1, weight.shape[2]).T


def _piece_major(values: Any) -> Any:
    """`[hidden, pieces]` as `[pieces * hidden]`."""
    return np.ascontiguousarray(values.T).reshape(-1)
