"""Builds a graph from calls of functions and from the graphs of other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass
from onnxscript import OnnxFunction

from .networks import initializer


class GraphBuilder:
    """Nodes and constants of one graph in the making; a loop's body is a builder of its own.

    :param outer: the builder of the graph around a body, whose values the body may read.
    """

    def __init__(self, outer: GraphBuilder | None = None) -> None:
        self._nodes: list[ir.Node] = []
        self._constants: dict[str, ir.Value] = {}
        self._outer = outer
        # Of this graph and of all bodies in it: names are unique in the whole model
        self._functions: dict[str, OnnxFunction[..., Any]] = {} if outer is None else outer._functions
        self._count: list[int] = [0] if outer is None else outer._count

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """The constant of that name, made at the first call."""
        if name not in self._constants:
            self._constants[name] = initializer(name, array)
        return self._constants[name]

    def integers(self, *numbers: int) -> ir.Value:
        """A constant int64 `[n]`, kept in the outermost graph."""
        if self._outer is not None:
            return self._outer.integers(*numbers)
        return self.constant(f"integers_{'_'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: int = 1,
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """Append a node; gives its outputs."""
        self._count[0] += 1
        name = f"{op_type}_{self._count[0]}"
        node = ir.node(op_type, inputs, dict(attributes or {}), domain=domain, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = f"{name}_{index}"
        self._nodes.append(node)
        return list(node.outputs)

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Append a node with one output; gives it."""
        return self.node(op_type, inputs, attributes=attributes)[0]

    def call(self, function: OnnxFunction[..., Any], *inputs: ir.Value) -> list[ir.Value]:
        """Append a call of a function; gives its outputs. `model` puts the function's nodes in its place."""
        self._functions[function.name] = function
        outputs = len(function.to_function_proto().output)
        return self.node(function.name, inputs, outputs, domain=function.opset.domain)

    def splice(
        self, part: ir.Model, inputs: Sequence[ir.Value], prefix: str, constants: GraphBuilder
    ) -> list[ir.Value]:
        """Append all nodes of another model, reading `inputs` in the place of its own; gives its outputs.

        :param prefix: what its constants are called by, so that those of one name are one tensor.
        :param constants: the builder that gets them.
        """
        known = dict(zip(part.graph.inputs, inputs, strict=True))
        for name, value in part.graph.initializers.items():
            assert value.const_value is not None  # it would be no initializer
            known[value] = constants.constant(f"{prefix}{name}", value.const_value.numpy())
        for node in part.graph:
            attributes = {
                name: ir.Attr(name, attribute.type, attribute.value) for name, attribute in node.attributes.items()
            }
            copied = self.node(
                node.op_type,
                [None if value is None else known[value] for value in node.inputs],
                len(node.outputs),
                domain=node.domain,
                attributes=attributes,
            )
            known.update(zip(node.outputs, copied, strict=True))
        return [known[value] for value in part.graph.outputs]

    def graph(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], name: str) -> ir.Graph:
        """The graph as it stands."""
        return ir.Graph(inputs, outputs, nodes=self._nodes, initializers=list(self._constants.values()), name=name)

    def model(self, graph: ir.Graph, domains: Mapping[str, int]) -> ir.Model:
        """A model around the outermost graph, every call replaced by its function's nodes."""
        graph.opset_imports.update(domains)
        functions = [ir.serde.deserialize_function(each.to_function_proto()) for each in self._functions.values()]
        own_domains = {str(function.domain) for function in functions}
        for domain in own_domains:
            graph.opset_imports[domain] = 1
        model = ir.Model(graph, ir_version=10, functions=functions)
        InlinePass()(model)
        for domain in own_domains:
            del graph.opset_imports[domain]
        return model
