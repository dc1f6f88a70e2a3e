"""Finds what can be quantized in a graph: matrix products with constant weights, and embedding tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .int8_scheme import AFTER_GELU, AFTER_RELU, SYMMETRIC, ActivationScheme

# The minimum number of values of a table to quantize. For smaller tables, such as the table of token types, the
# additional lookup of the scales costs more time than int8 saves.
_MIN_TABLE_VALUES = 1 << 16


@dataclass(eq=False)
class Linear:
    """A MatMul with a constant weight, float32 `[in, out]`. Smoothing changes `weight` before it is rounded."""

    node: ir.Node
    weight: NDArray[np.float32]

    @property
    def name(self) -> str:
        """The node's name, under which the manifest lists the error of the product."""
        return str(self.node.name)


@dataclass
class LinearGroup:
    """All linears that read one activation, which is quantized once for all of them."""

    activation: ir.Value
    scheme: ActivationScheme
    linears: list[Linear]


def find_groups(graph: ir.Graph, exact: Collection[str] = ()) -> list[LinearGroup]:
    """Return every MatMul of the graph with a constant float32 weight `[in, out]`, grouped by its activation.

    :param exact: outputs of the graph; products that compute them, with or without a bias, are omitted.
    """
    groups: dict[str, LinearGroup] = {}
    for node in graph:
        weight = _matmul_weight(node)
        activation = node.inputs[0] if weight is not None else None
        if weight is None or activation is None or activation.name is None or _computes(node, exact):
            continue
        if activation.producer() is None:
            # An input of the graph is not quantized: the nodes are inserted after the one that computes the activation
            continue
        group = groups.setdefault(activation.name, LinearGroup(activation, _scheme(activation), []))
        group.linears.append(Linear(node, weight))
    return list(groups.values())


def find_tables(graph: ir.Graph) -> list[ir.Node]:
    """Return every Gather of rows from a large constant float32 table `[entries, dim]`."""
    gathers = []
    for node in graph:
        if node.op_type == "Gather" and node.domain == "" and node.attributes.get_int("axis", 0) == 0:
            table = constant(node.inputs[0])
            if table is not None and table.dtype == ir.DataType.FLOAT and len(table.shape) == 2:
                gathers += [node] * (table.size >= _MIN_TABLE_VALUES)
    return gathers


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor of an initializer; None for any other value."""
    return value.const_value if value is not None and value.is_initializer() else None


def _computes(node: ir.Node, outputs: Collection[str]) -> bool:
    """Return whether a product, alone or with a bias added, is one of the named outputs."""
    biased = [use.node for use in node.outputs[0].uses() if use.node.op_type == "Add"]
    return any(value.name in outputs for each in (node, *biased) for value in each.outputs)


def _matmul_weight(node: ir.Node) -> NDArray[np.float32] | None:
    if node.op_type != "MatMul" or node.domain != "":
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != ir.DataType.FLOAT or len(weight.shape) != 2:
        return None
    return np.array(weight.numpy(), np.float32)


def _scheme(activation: ir.Value) -> ActivationScheme:
    producer = activation.producer()
    schemes = {"Gelu": AFTER_GELU, "Relu": AFTER_RELU}
    return schemes.get(producer.op_type, SYMMETRIC) if producer is not None else SYMMETRIC
