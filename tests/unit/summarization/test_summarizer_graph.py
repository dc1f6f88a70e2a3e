"""The composed graph of a summarizer, with a network that is small enough to compute by hand.

A table replaces the network: the logits of the next token depend only on the last token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx_ml_bridge.artifacts.families.summarization import FixedGeneration, GenerationDefaults, SummarizationSpec
from onnx_ml_bridge.graphs.graph_builder import GraphBuilder
from onnx_ml_bridge.graphs.summarization.composition import SEALED_NAMES, compose_graph
from onnx_ml_bridge.graphs.summarization.parts import SummarizerParts, embed_model, score_model

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
START, PAD, END, A, B, C = range(6)
HIDDEN = 6
# LOGITS[last, next] is the logit of the token `next` after the token `last`.
LOGITS = np.full((6, 6), -9.0, np.float32)
LOGITS[START, A], LOGITS[START, B] = 2.0, 1.5
LOGITS[A, C], LOGITS[A, A] = 1.0, 0.9
LOGITS[B, END] = 9.0
LOGITS[C, END] = 3.0
# Together, these settings use every function of the beam search.
SETTINGS = {
    "bigrams, never": FixedGeneration(2, "never", A, END),
    "single tokens, early": FixedGeneration(1, True, None, None),
}
SPEC = SummarizationSpec(" ", START, END, 16, GenerationDefaults(2, 0, 8, 1.0), SETTINGS["single tokens, early"])
NAMES = Path(__file__).with_name("summarizer_graph_names.txt")


def parts() -> SummarizerParts:
    """Return the parts of the summarizer.

    The embeddings are one-hot vectors. The product of the last token's vector and `LOGITS`, which the decoder step
    computes, is therefore the row of this token in `LOGITS`.
    """
    table = np.eye(HIDDEN, dtype=np.float32)
    return SummarizerParts(embed_model(table), encoder(), step(), score_model(table, np.ones(6, np.float32)), 1, 1, 6)


def encoder() -> ir.Model:
    graph = GraphBuilder()
    embeddings = graph.input("embeddings", FLOAT, ["batch", "tokens", HIDDEN])
    mask = graph.input("attention_mask", INT64, ["batch", "tokens"])
    cross_mask = graph.op("Unsqueeze", graph.op("Cast", mask, to=int(FLOAT)), graph.integers(1, 2))
    values = graph.op("Unsqueeze", embeddings, graph.integers(1, 2))
    keys = graph.op("Transpose", values, perm=[0, 1, 2, 4, 3])
    return graph.model(
        {
            "cross_mask": (cross_mask, FLOAT, ["batch", 1, 1, "tokens"]),
            "cross_keys_0": (keys, FLOAT, ["batch", 1, 1, HIDDEN, "tokens"]),
            "cross_values_0": (values, FLOAT, ["batch", 1, 1, "tokens", HIDDEN]),
        }
    )


def step() -> ir.Model:
    graph = GraphBuilder()
    embeddings = graph.input("embeddings", FLOAT, ["beams", "batch", HIDDEN])
    graph.input("positions", INT64, ["beams", 1])
    past_mask = graph.input("past_mask", FLOAT, ["batch", "beams", "slots"])
    new_mask = graph.input("new_mask", FLOAT, ["beams", "beams"])
    graph.input("cross_mask", FLOAT, ["batch", 1, 1, "tokens"])
    past = [graph.input(f"past_{kind}_0", FLOAT, ["slots", "batch", 1, HIDDEN]) for kind in ("keys", "values")]
    graph.input("cross_keys_0", FLOAT, ["batch", 1, 1, HIDDEN, "tokens"])
    graph.input("cross_values_0", FLOAT, ["batch", 1, 1, "tokens", HIDDEN])
    transitions = graph.constant(LOGITS, name="transitions")
    hidden = graph.op("MatMul", graph.op("Reshape", embeddings, graph.integers(-1, HIDDEN)), transitions)
    batch = graph.op("Shape", past_mask, start=0, end=1)
    shape = graph.op("Concat", batch, graph.op("Shape", new_mask), axis=0)
    mask = graph.op("Concat", past_mask, graph.op("Expand", new_mask, shape), axis=2)
    new = graph.op("Unsqueeze", embeddings, graph.integers(2))
    keys, values = (graph.op("Concat", each, new, axis=0) for each in past)
    return graph.model(
        {
            "hidden": (hidden, FLOAT, ["rows", HIDDEN]),
            "mask": (mask, FLOAT, ["batch", "beams", "all_slots"]),
            "keys_0": (keys, FLOAT, ["all_slots", "batch", 1, HIDDEN]),
            "values_0": (values, FLOAT, ["all_slots", "batch", 1, HIDDEN]),
        }
    )


def composed(fixed: FixedGeneration) -> ir.Model:
    return compose_graph(parts(), replace(SPEC, fixed=fixed), PAD)


def described(graph: ir.Graph, indent: str = "") -> Iterator[str]:
    """Yield the names of a graph's inputs, constants and nodes and of its subgraphs, in order."""
    yield f"{indent}{graph.name}({', '.join(str(value.name) for value in graph.inputs)})"
    yield from (f"{indent}  {name}" for name in graph.initializers)
    for node in graph:
        yield f"{indent}  {', '.join(str(value.name) for value in node.outputs)} = {node.op_type}"
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from described(attribute.as_graph(), f"{indent}    ")


def test_the_names_in_the_graph_do_not_change():
    """The names of variables and functions in the search's code become names in the graph, so they must not change.

    To rename one in the code, map the new name to the old one in `SEALED_NAMES`.
    """
    found = [line for name, fixed in SETTINGS.items() for line in (name, *described(composed(fixed).graph))]
    assert found == NAMES.read_text(encoding="utf-8").splitlines()


def test_every_sealed_name_occurs_instead_of_the_name_in_the_code():
    names = {str(value.name) for fixed in SETTINGS.values() for value in all_values(composed(fixed))}
    bases = {name.rstrip("_0123456789") for name in names}
    assert set(SEALED_NAMES.values()) <= bases
    assert not set(SEALED_NAMES) & bases


def all_values(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in model.graph.all_nodes() for value in node.outputs)


def test_composing_twice_produces_equal_bytes():
    first, second = (ir.to_proto(composed(SETTINGS["bigrams, never"])).SerializeToString() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("num_beams", "expected"),
    [
        (1, [START, A, C, END]),  # greedy search always takes the best next token
        # START B END has a higher probability (0.38 * 1.0) than START A C (0.62 * 0.52). It is padded, because the
        # other beam ends one step later.
        (2, [START, B, END, PAD]),
    ],
)
def test_the_search_of_the_composed_graph_by_hand(num_beams, expected):
    model = ir.to_proto(composed(SETTINGS["single tokens, early"])).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {
        "input_ids": np.array([[A, B], [B, PAD]]),
        "attention_mask": np.array([[1, 1], [1, 0]]),
        "num_beams": np.array([num_beams]),
        "min_length": np.array([0]),
        "max_length": np.array([8]),
        "length_penalty": np.array([0.0], np.float32),
    }
    sequences, _ = session.run(["sequences", "sequences_scores"], feeds)
    assert sequences.tolist() == [expected] * 2
