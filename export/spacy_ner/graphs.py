"""The graphs of spaCy's transition-based components (FORMAT.md, "spaCy: tokens to entities").

The graphs compute everything that depends only on the tokens. The runtime computes everything that depends on a state
(the open entity, the stack): it adds a few of the features that the graphs return.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graphs.graph_builder import GraphBuilder
from .encoder import new_graph, token_vectors
from .layers import affine, max_over_pieces, piece_major
from .moves import NerMoves
from .network import Affine, Network


def build_ner_graph(network: Network, moves: NerMoves) -> ir.Model:
    """Return the graph of the entity recognizer (role `spacy_ner`).

    For every token, it computes the best move while no entity is open, and the features for states with an open entity.
    """
    graph = new_graph()
    tokens = token_vectors(graph, network)
    is_space = graph.input("is_space", ir.DataType.BOOL, ["tokens"])
    is_last = graph.input("is_last", ir.DataType.BOOL, ["tokens"])
    current, first, previous = (
        graph.op("MatMul", tokens, graph.constant(_feature_weight(network, index))) for index in range(3)
    )
    scores = _closed_scores(graph, current, network, moves)
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
    """Return the graph of the parser (role `spacy_parser`), which computes the features of every token."""
    graph = new_graph()
    tokens = token_vectors(graph, network)
    count, width = network.lower.shape[0], network.pieces * network.hidden
    weight = np.concatenate([_feature_weight(network, index) for index in range(count)], axis=1)
    features = graph.reshape(graph.op("MatMul", tokens, graph.constant(weight)), -1, count, width)
    return graph.model({"features": (features, ir.DataType.FLOAT, ["tokens", count, width])})


def _closed_scores(graph: GraphBuilder, current: ir.Value, network: Network, moves: NerMoves) -> ir.Value:
    """Return scores `[tokens, moves]` of the moves that are possible while no entity is open.

    A state has three tokens: the current token, the first token of the entity, and the token before the current one.
    Without an open entity the last two are missing, and the learned padding replaces their features.
    """
    padding = piece_major(network.lower_padding[1]) + piece_major(network.lower_padding[2])
    state = graph.op("Add", current, graph.constant(padding + piece_major(network.lower_bias)))
    hidden = max_over_pieces(graph, state, network.pieces)
    return affine(graph, hidden, Affine(network.upper.weight[moves.closed], network.upper.bias[moves.closed]))


def _best_closed_move(
    graph: GraphBuilder, scores: ir.Value, moves: NerMoves, is_space: ir.Value, is_last: ir.Value
) -> ir.Value:
    """Return, for every token, the index of the valid move with the highest score while no entity is open.

    A whitespace token cannot begin an entity. The last token of a sentence cannot begin an entity of several tokens.
    """
    column = graph.constant([1], np.int64)
    on_space, on_last = graph.op("Unsqueeze", is_space, column), graph.op("Unsqueeze", is_last, column)
    begins = graph.constant(moves.closed_begins[None])
    enters = graph.constant(moves.closed_labels[None] >= 0)
    invalid = graph.op("Or", graph.op("And", on_last, begins), graph.op("And", on_space, enters))
    allowed = graph.op("Where", invalid, graph.constant(-np.inf, np.float32), scores)
    return graph.op("ArgMax", allowed, axis=1, keepdims=0)


def _feature_weight(network: Network, index: int) -> Any:
    """Return the weight `[in, pieces * hidden]` by which the vector of one of the tokens in a state is multiplied."""
    weight = network.lower[index].transpose(1, 0, 2)
    return weight.reshape(-1, weight.shape[2]).T
