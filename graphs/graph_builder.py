"""Builds ONNX graphs with onnx-ir: `NodeBuilder` appends nodes, its subclass `GraphBuilder` starts a new graph.

`graph_editor.Insertion` is the other subclass of `NodeBuilder`: it inserts nodes into an existing graph. The names of
constants and values are part of the bytes of an artifact, so a scheme of names, once released, does not change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, DTypeLike
from onnx_ir.passes.common import InlinePass

from .files import IR_VERSION, OPSET, clean

if TYPE_CHECKING:
    from onnxscript import OnnxFunction

# Operators of ONNX Runtime that are not part of the ONNX standard.
MICROSOFT = "com.microsoft"
# An output of a model: its value in the graph, its element type and its dimensions.
Output = tuple[ir.Value, ir.DataType, Sequence[int | str]]


def initializer(name: str, array: ArrayLike) -> ir.Value:
    """Return a named constant tensor."""
    return ir.val(name, const_value=ir.tensor(np.asarray(array, order="C"), name=name))


class NodeBuilder(ABC):
    """Appends nodes to a graph; subclasses decide where a node goes and how it is named."""

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: int = 1,
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """Append a node to the graph and return its outputs."""
        name = self._node_name(op_type)
        node = ir.node(op_type, inputs, dict(attributes or {}), domain=domain, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = self._output_name(name, index)
        self._append(node)
        return list(node.outputs)

    def op(self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        """Append a node with one output to the graph and return this output."""
        return self.node(op_type, inputs, domain=domain, attributes=attributes)[0]

    @abstractmethod
    def constant(self, array: ArrayLike, *, name: str) -> ir.Value:
        """Return the constant with this name; the first call with the name adds it to the graph."""

    @abstractmethod
    def _node_name(self, op_type: str) -> str: ...

    @abstractmethod
    def _output_name(self, node_name: str, index: int) -> str | None: ...

    @abstractmethod
    def _append(self, node: ir.Node) -> None: ...


class GraphBuilder(NodeBuilder):
    """A new graph: inputs, constants and nodes in the order of the calls.

    The body of a loop or the branch of a condition is a `GraphBuilder` of its own, made by `subgraph`. It can read
    every value of the graphs around it.

    :param names_values: True names a value after its node (`Add_3_0`); False lets onnx-ir number the values (`val_3`).
    """

    def __init__(self, *, names_values: bool = True, outer: GraphBuilder | None = None) -> None:
        self._names_values = names_values
        self._outer = outer
        self._inputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._constants: dict[str, ir.Value] = {}
        self._names_by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        # The builders of all subgraphs share these objects with the outermost one: names are unique in the whole model
        self._op_count: list[int] = [0] if outer is None else outer._op_count
        self._functions: dict[str, OnnxFunction[..., Any]] = {} if outer is None else outer._functions
        self._domains: dict[str, int] = {"": OPSET} if outer is None else outer._domains

    def subgraph(self) -> GraphBuilder:
        """Return a builder for a subgraph, such as the body of a loop, inside this graph."""
        return GraphBuilder(names_values=self._names_values, outer=self)

    def input(self, name: str, dtype: ir.DataType, dims: Sequence[int | str | None]) -> ir.Value:
        """Add an input to the graph and return its value."""
        value = ir.val(name, dtype, dims)
        self._inputs.append(value)
        return value

    def constant(self, array: ArrayLike, dtype: DTypeLike | None = None, *, name: str | None = None) -> ir.Value:
        """Return a constant of the graph.

        Constants with the same name are stored once. Constants without a name are stored once if their type, shape and
        content are equal.
        """
        data = np.asarray(array, dtype, order="C")
        if name is None:
            key = (data.dtype.str, data.shape, data.tobytes())
            name = self._names_by_content.setdefault(key, f"constant_{len(self._names_by_content)}")
        if name not in self._constants:
            self._constants[name] = initializer(name, data)
        return self._constants[name]

    def integers(self, *numbers: int) -> ir.Value:
        """Return a constant int64 `[n]` with these numbers, which is stored in the outermost graph."""
        if self._outer is not None:
            return self._outer.integers(*numbers)
        return self.constant(numbers, np.int64, name=f"integers_{'_'.join(map(str, numbers))}")

    def split(self, value: ir.Value, parts: int) -> list[ir.Value]:
        """Append a node that splits the columns of `value` into equal parts, and return the parts."""
        if parts == 1:
            return [value]
        return self.node("Split", [value], parts, attributes={"axis": 1, "num_outputs": parts})

    def reshape(self, value: ir.Value, *shape: int) -> ir.Value:
        """Append a node that reshapes `value`, and return its output; one size may be -1."""
        return self.op("Reshape", value, self.constant(shape, np.int64))

    def call(self, function: OnnxFunction[..., Any], *inputs: ir.Value) -> list[ir.Value]:
        """Append a call of an onnxscript function and return its outputs; `model` inlines the function."""
        self._functions[function.name] = function
        outputs = len(function.to_function_proto().output)
        return self.node(function.name, inputs, outputs, domain=function.opset.domain)

    def splice(
        self, model: ir.Model, inputs: Sequence[ir.Value], prefix: str, constants: GraphBuilder
    ) -> list[ir.Value]:
        """Append copies of all nodes of a model, connected to `inputs`, and return the values of its outputs.

        :param prefix: put before the names of the model's constants.
        :param constants: the builder that stores these constants; constants with the same name are stored once.
        """
        self._domains |= {**model.opset_imports, "": max(self._domains[""], model.opset_imports[""])}
        copies = dict(zip(model.graph.inputs, inputs, strict=True))
        for name, value in model.graph.initializers.items():
            assert value.const_value is not None  # every initializer has a value
            copies[value] = constants.constant(value.const_value.numpy(), name=f"{prefix}{name}")
        for node in model.graph:
            copies.update(zip(node.outputs, self._copy(node, copies), strict=True))
        return [copies[value] for value in model.graph.outputs]

    def graph(self, outputs: Sequence[ir.Value], name: str) -> ir.Graph:
        """Return the finished graph."""
        constants = list(self._constants.values())
        return ir.Graph(self._inputs, outputs, nodes=self._nodes, initializers=constants, name=name)

    def model(self, outputs: Mapping[str, Output]) -> ir.Model:
        """Return the finished model around the outermost graph: functions are inlined, metadata is removed.

        :param outputs: the outputs by name.
        """
        for name, (value, dtype, dims) in outputs.items():
            value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(dims)
        graph = self.graph([value for value, _, _ in outputs.values()], "main")
        functions = [ir.serde.deserialize_function(each.to_function_proto()) for each in self._functions.values()]
        for function in functions:  # int8 parts have a later opset, in which the functions' operators are the same
            function.opset_imports[""] = self._domains[""]
        own_domains = {function.domain: 1 for function in functions}
        graph.opset_imports.update(self._domains | own_domains)
        model = ir.Model(graph, ir_version=IR_VERSION, functions=functions)
        InlinePass()(model)
        for domain in own_domains:
            del graph.opset_imports[domain]
        clean(model)
        return model

    def _copy(self, node: ir.Node, copies: Mapping[ir.Value, ir.Value]) -> list[ir.Value]:
        inputs = [None if value is None else copies[value] for value in node.inputs]
        attributes = {name: ir.Attr(name, each.type, each.value) for name, each in node.attributes.items()}
        return self.node(node.op_type, inputs, len(node.outputs), domain=node.domain, attributes=attributes)

    def _node_name(self, op_type: str) -> str:
        self._op_count[0] += 1
        return f"{op_type}_{self._op_count[0]}"

    def _output_name(self, node_name: str, index: int) -> str | None:
        return f"{node_name}_{index}" if self._names_values else None

    def _append(self, node: ir.Node) -> None:
        self._nodes.append(node)
