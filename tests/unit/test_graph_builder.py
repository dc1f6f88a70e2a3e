"""Building and editing graphs: names, shared constants, and the outputs of the edited graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx_ml_bridge.graphs.files import describe_graph, save_graph
from onnx_ml_bridge.graphs.graph_builder import GraphBuilder
from onnx_ml_bridge.graphs.graph_editor import GraphEditor

FLOAT = ir.DataType.FLOAT


def scaled(names_values: bool = True) -> ir.Model:
    """Return a model that computes `y = relu(x * 2) + 2`."""
    graph = GraphBuilder(names_values=names_values)
    x = graph.input("x", FLOAT, ["n"])
    doubled = graph.op("Mul", x, graph.constant([2], np.float32))
    y = graph.op("Add", graph.op("Relu", doubled), graph.constant([2], np.float32))
    return graph.model({"y": (y, FLOAT, ["n"])})


def outputs(graph: ir.Graph) -> list[str]:
    return [str(value.name) for node in graph for value in node.outputs]


def run(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def test_values_are_named_after_their_nodes_or_numbered():
    assert outputs(scaled().graph) == ["Mul_1_0", "Relu_2_0", "y"]
    assert outputs(scaled(names_values=False).graph) == ["val_0", "val_1", "y"]


def test_nodes_are_numbered_in_their_order():
    assert [node.name for node in scaled().graph] == ["Mul_0", "Relu_1", "Add_2"]


def test_equal_constants_are_shared():
    assert list(scaled().graph.initializers) == ["constant_0"]
    graph = GraphBuilder()
    assert graph.constant([2], np.float32) is graph.constant(np.array([2], np.float32))
    # A constant with another element type, shape or name is not shared.
    others = [graph.constant([2], np.int64), graph.constant(2, np.float32), graph.constant([2], np.float32, name="two")]
    assert [value.name for value in others] == ["constant_1", "constant_2", "two"]
    assert graph.constant([2], np.float32, name="two") is others[-1]


def test_integers_of_a_subgraph_are_stored_in_the_outermost_graph():
    graph = GraphBuilder()
    inner = graph.subgraph().subgraph()
    assert inner.integers(1, -2) is graph.integers(1, -2)
    assert list(graph.graph([], "main").initializers) == ["integers_1_-2"]
    assert not inner.graph([], "inner").initializers


def test_names_are_unique_over_all_subgraphs():
    graph = GraphBuilder()
    x = graph.input("x", FLOAT, ["n"])
    inner = graph.subgraph()
    values = [builder.op("Relu", x) for builder in (graph, inner, graph, inner)]
    assert [value.name for value in values] == ["Relu_1_0", "Relu_2_0", "Relu_3_0", "Relu_4_0"]


def test_a_model_spliced_twice_shares_its_constants():
    graph = GraphBuilder()
    x = graph.input("x", FLOAT, ["n"])
    for _ in range(2):
        (x,) = graph.splice(scaled(), [x], "part.", graph)
    model = graph.model({"y": (x, FLOAT, ["n"])})
    assert list(model.graph.initializers) == ["part.constant_0"]
    (y,) = run(model, x=np.array([-3, 1], np.float32))
    assert y.tolist() == [2 * 2 + 2, 2 * 4 + 2]


@pytest.mark.parametrize("parts", [1, 2])
def test_columns_are_split_into_equal_parts(parts):
    graph = GraphBuilder()
    x = graph.input("x", FLOAT, ["n", 4])
    y = graph.op("Concat", *reversed(graph.split(x, parts)), axis=1)
    (found,) = run(graph.model({"y": (y, FLOAT, ["n", 4])}), x=np.array([[1, 2, 3, 4]], np.float32))
    assert found.tolist() == [[3, 4, 1, 2] if parts == 2 else [1, 2, 3, 4]]


def test_a_saved_graph_can_be_described_and_stores_large_tensors_in_another_file(tmp_path):
    graph = GraphBuilder()
    x = graph.input("x", FLOAT, ["n", 300])
    y = graph.op("Add", x, graph.constant(np.arange(300), np.float32))
    model = graph.model({"y": (y, FLOAT, ["n", 300])})
    save_graph(model, tmp_path, "onnx/model.onnx")
    assert (tmp_path / "onnx/model.onnx_data").stat().st_size >= 1200
    described = describe_graph(ir.load(tmp_path / "onnx/model.onnx"), "onnx/model.onnx")
    assert (described.domains, described.min_onnxruntime) == ({"": 20}, "1.18")
    assert [(each.name, each.dtype, each.dims) for each in described.inputs] == [("x", "float32", ("n", 300))]


def test_an_input_without_a_type_is_not_described():
    with pytest.raises(ValueError, match="no name, type or shape"):
        describe_graph(ir.Model(ir.Graph([ir.Value(name="x")], [], nodes=[]), ir_version=10), "model.onnx")


def test_inserted_nodes_are_named_after_their_anchor_and_number():
    model = scaled()
    editor, relu = GraphEditor(model.graph), model.graph.node(1)
    after, before = editor.after(relu), editor.before(relu)
    constant = before.constant(np.float32(1), name="one")
    assert (constant.name, constant.shape) == ("Relu_1_q2_one", ir.Shape([1]))
    names = [after.op("Abs", relu.outputs[0]).name, after.op("Neg", relu.outputs[0]).name]
    names.append(before.op("Add", relu.inputs[0], constant).name)
    assert names == ["Relu_1_q1_Abs_1", "Relu_1_q1_Neg_2", "Relu_1_q2_Add_1"]
    assert [node.op_type for node in model.graph] == ["Mul", "Add", "Relu", "Abs", "Neg", "Add"]


def test_replacing_the_last_node_keeps_the_name_of_the_graphs_output():
    model = scaled()
    editor, add = GraphEditor(model.graph), model.graph.node(2)
    chain = editor.after(add)
    editor.replace(add, chain.op("Sub", add.inputs[0], chain.constant(np.float32(5), name="five")))
    editor.drop_unused_constants()
    assert [output.name for output in model.graph.outputs] == ["y"]
    assert list(model.graph.initializers) == ["constant_0", "Add_2_q1_five"]  # the constant 2 is still used by Mul
    (y,) = run(model, x=np.array([-3, 4], np.float32))
    assert y.tolist() == [-5, 3]
