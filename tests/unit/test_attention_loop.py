"""The loop over blocks of queries against attention in numpy, for every band and lengths around block borders."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ml_bridge.graphs.attention_loop import (
    BLOCK,
    Attention,
    AttentionLoops,
    Band,
    attention_loops,
    looped_values,
)
from onnx_ml_bridge.graphs.files import IR_VERSION, OPSET
from onnx_ml_bridge.graphs.graph_editor import GraphEditor
from onnxruntime import InferenceSession

HEADS, IN, OUT = 2, 4, 3
BANDS = {
    "full": Band(None, None),
    "causal": Band(None, 0),
    "causal window": Band(99, 0),
    "window": Band(64, 64),
    "uneven window": Band(5, 300),
}


def graph_of(band: Band, softcap: float = 0) -> ir.Model:
    """Return a model of one attention with the inputs q, k, v and mask, and the output y."""
    q = ir.val("q", ir.DataType.FLOAT, ["batch", HEADS, "tokens", IN])
    k = ir.val("k", ir.DataType.FLOAT, ["batch", HEADS, IN, "tokens"])
    v = ir.val("v", ir.DataType.FLOAT, ["batch", HEADS, "tokens", OUT])
    mask = ir.val("mask", ir.DataType.BOOL, ["batch", "tokens"])
    end = ir.node("Identity", [v], name="end")
    graph = ir.Graph([q, k, v, mask], end.outputs, nodes=[end], opset_imports={"": OPSET}, name="main")
    loops = AttentionLoops(GraphEditor(graph))
    padding = loops.padding(end, mask)
    result = loops.attend(end, Attention(q, k, v, padding, band, 0.5, softcap, HEADS, OUT))
    end.replace_input_with(0, result)
    end.outputs[0].name, end.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    return ir.Model(graph, ir_version=IR_VERSION)


def session_of(model: ir.Model) -> InferenceSession:
    return InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])


def feeds_of(lengths: list[int]) -> dict[str, np.ndarray]:
    random, tokens = np.random.default_rng(0), max(lengths)
    shapes = {"q": (HEADS, tokens, IN), "k": (HEADS, IN, tokens), "v": (HEADS, tokens, OUT)}
    feeds = {name: random.normal(size=(len(lengths), *shape)).astype(np.float32) for name, shape in shapes.items()}
    return feeds | {"mask": np.arange(tokens)[None, :] < np.array(lengths)[:, None]}


def expected(feeds: dict[str, np.ndarray], band: Band, softcap: float = 0) -> np.ndarray:
    tokens = feeds["q"].shape[2]
    distances = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    before, after = (tokens if limit is None else limit for limit in (band.before, band.after))
    visible = (distances <= before) & (distances >= -after) & feeds["mask"][:, None, None, :]
    scores = 0.5 * (feeds["q"].astype(np.float64) @ feeds["k"])
    scores = softcap * np.tanh(scores / softcap) if softcap else scores
    weights = np.exp(np.where(visible, scores, -np.inf))
    with np.errstate(invalid="ignore"):  # a query of padding may see no key
        return (weights / weights.sum(-1, keepdims=True) @ feeds["v"]).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("band", BANDS.values(), ids=BANDS)
def test_attention_equals_numpy_alone_and_in_a_batch(band):
    session = session_of(graph_of(band))
    borders = (1, 2, 64, 65, 66, 99, 100, 101, BLOCK - 1, BLOCK, BLOCK + 1, 511, 512, 513, 700)
    for lengths in (*([length] for length in borders), [300, 40, 513], [257, 1, 255]):
        feeds = feeds_of(lengths)
        found, right = session.run(["y"], feeds)[0], expected(feeds, band)
        assert np.isfinite(found).all(), "padding must not become NaN"
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(found[row, :length], right[row, :length], rtol=0, atol=2e-6)
            short = {name: value[row : row + 1] for name, value in feeds.items()}
            short = {
                "q": short["q"][:, :, :length],
                "k": short["k"][..., :length],
                "v": short["v"][:, :, :length],
                "mask": short["mask"][:, :length],
            }
            np.testing.assert_array_equal(session.run(["y"], short)[0][0], found[row, :length])


def test_scores_are_capped():
    feeds, band = feeds_of([300]), BANDS["causal"]
    found = session_of(graph_of(band, softcap=0.5)).run(["y"], feeds)[0]
    assert np.abs(found - expected(feeds, band, softcap=0.5)).max() <= 2e-6
    assert np.abs(found - expected(feeds, band)).max() > 0.01


@pytest.mark.parametrize("band", [BANDS["full"], BANDS["window"]], ids=["full", "window"])
def test_the_values_are_seen_through_the_loop(band):
    graph = graph_of(band).graph
    end = graph.outputs[0].producer()
    assert looped_values(end.inputs[0]) is graph.inputs[2]
    assert looped_values(end.outputs[0]) is looped_values(graph.inputs[0]) is looped_values(None) is None
    assert [node.op_type for node in attention_loops(graph)] == ["Loop"]


def test_names_are_unique_in_the_graph_and_its_bodies():
    graph = graph_of(BANDS["window"]).graph
    names = [value.name for node in graph.all_nodes() for value in node.outputs]
    assert len(set(names)) == len(names) and None not in names
