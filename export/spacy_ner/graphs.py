"""The graphs of spaCy's transition-based components (FORMAT.md, "spaCy: tokens to entities").

Everything that depends on the tokens alone is in the graphs; what depends on a state (which entity is open, what is on
the stack) is a few additions that the runtime makes with the features that they give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from .encoder import token_vectors
from .moves import NerMoves
from .network import Affine, Network
from .tape import GraphTape, piece_major


def build_ner_graph(network: Network, moves: NerMoves) -> ir.Model:
    """The graph of the role `spacy_ner`."""
    graph = GraphTape()
    tokens = token_vectors(graph, network)
    is_space = graph.input("is_space", ir.DataType.BOOL, ["tokens"])
    is_last = graph.input("is_last", ir.DataType.BOOL, ["tokens"])
    current, first, previous = (
        graph.op("MatMul", tokens, graph.constant(_feature_weight(network, index))) for index in range(3)
    )
    # No entity is open: the second and third place of the state are empty
    fixed = piece_major(network.lower_padding[1]) + piece_major(network.lower_padding[2])
    state = graph.op("Add", current, graph.constant(fixed + piece_major(network.lower_bias)))
    hidden = graph.largest_piece(state, network.pieces)
    scores = graph.affine(hidden, Affine(network.upper.weight[moves.closed], network.upper.bias[moves.closed]))
    best = _best_closed_move(graph, scores, moves, is_space, is_last)
    width = network.pieces * network.hidden
    label = graph.op("Gather", graph.constant(moves.closed_labels, np.int32), best)
    begins = graph.op("Gather", graph.constant(moves.closed_begins), best)
    return graph.model(
        {
            "label": (label, ir.DataType.INT32, ["tokens"]),
            "begins": (begins, ir.DataType.BOOL, ["tokens"]),
            "current": (current, ir.DataType.FLOAT, ["tokens", width]),
            "first": (first, ir.DataType.FLOAT, ["tokens", width]),
            "previous": (previous, ir.DataType.FLOAT, ["tokens", width]),
        }
    )


def build_parser_graph(network: Network) -> ir.Model:
    """The graph of the role `spacy_parser`."""
    graph = GraphTape()
    tokens = token_vectors(graph, network)
    indices, width = network.lower.shape[0], network.pieces * network.hidden
    weight = np.concatenate([_feature_weight(network, index) for index in range(indices)], axis=1)
    features = graph.reshape(graph.op("MatMul", tokens, graph.constant(weight)), -1, indices, width)
    return graph.model({"features": (features, ir.DataType.FLOAT, ["tokens", indices, width])})


def _best_closed_move(graph: GraphTape, scores: ir.Value, moves: NerMoves, space: ir.Value, last: ir.Value) -> ir.Value:
    """Index of the best valid move: an entity may not begin on whitespace, nor one of several tokens on a last one."""
    column = graph.constant([1], np.int64)
    on_space, on_last = graph.op("Unsqueeze", space, column), graph.op("Unsqueeze", last, column)
    begins = graph.constant(moves.closed_begins[None])
    enters = graph.constant(moves.closed_labels[None] >= 0)
    invalid = graph.op("Or", graph.op("And", on_last, begins), graph.op("And", on_space, enters))
    allowed = graph.op("Where", invalid, graph.constant(-np.inf, np.float32), scores)
    return graph.op("ArgMax", allowed, axis=1, keepdims=0)


def _feature_weight(network: Network, index: int) -> Any:
    """Weight `[in, pieces * hidden]` of one place of the state."""
    weight = network.lower[index].transpose(1, 0, 2)
    return weight.reshape(-1, weight.shape[2]).T
