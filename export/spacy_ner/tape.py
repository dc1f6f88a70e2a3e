"""A graph in the making: `GraphTape`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from ..graph_files import OPSET, clean
from .network import Affine

_IR_VERSION = 10


class GraphTape:
    """Inputs as they are asked for, nodes in their order, constants stored once."""

    def __init__(self) -> None:
        """Start empty."""
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def input(self, name: str, dtype: ir.DataType, dims: Sequence[str | int]) -> ir.Value:
        """A new input."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(dims))
        self._inputs.append(value)
        return value

    def constant(self, array: Any, dtype: Any = None) -> ir.Value:
        """A constant; the same values give the same one."""
        data = np.asarray(array, dtype, order="C")
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = self._tape.initializer(ir.tensor(data, name=name), name)
        return self._constants[key]

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Append a node with one output; gives it."""
        return self._tape.op(kind, list(inputs), attributes)

    def split(self, value: ir.Value, parts: int) -> Sequence[ir.Value]:
        """The columns of `value` in equal parts."""
        if parts == 1:
            return [value]
        return self._tape.op_multi_out("Split", [value], {"axis": 1, "num_outputs": parts}, num_outputs=parts)

    def reshape(self, value: ir.Value, *shape: int) -> ir.Value:
        """`value` in another shape, one size being -1."""
        return self.op("Reshape", value, self.constant(shape, np.int64))

    def affine(self, x: ir.Value, layer: Affine) -> ir.Value:
        """A linear layer, `[n, in]` to `[n, out]`."""
        return self.op("Add", self.op("MatMul", x, self.constant(layer.weight.T)), self.constant(layer.bias))

    def largest_piece(self, linear: ir.Value, pieces: int) -> ir.Value:
        """The maximum over the pieces, `[n, pieces * out]` to `[n, out]`; the pieces are the outer dimension."""
        parts = self.op("Reshape", linear, self.constant([0, pieces, -1], np.int64))
        return linear if pieces == 1 else self.op("ReduceMax", parts, self.constant([1], np.int64), keepdims=0)

    def model(self, outputs: dict[str, tuple[ir.Value, ir.DataType, Sequence[str | int]]]) -> ir.Model:
        """The finished model; `outputs` gives each output's value, element type and dimensions by name."""
        values = []
        for name, (value, dtype, dims) in outputs.items():
            value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(dims)
            values.append(value)
        graph = ir.Graph(
            self._inputs,
            values,
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": OPSET},
            name="main",
        )
        model = ir.Model(graph, ir_version=_IR_VERSION)
        clean(model)
        return model


def piece_major(values: Any) -> Any:
    """`[out, pieces]` as `[pieces * out]`: pieces are the outer dimension, so that the maximum is over whole slices."""
    return np.ascontiguousarray(values.T).reshape(-1)
