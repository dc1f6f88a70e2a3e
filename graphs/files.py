"""Reproducible ONNX files: clean a model, save its graph and its weights, and describe the graph for the manifest."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from ..artifacts.constants import data_file
from ..artifacts.manifest import Graph, Tensor

OPSET = 20
IR_VERSION = 10
# The first release of ONNX Runtime that reads IR version 10 and an opset; for 21, that quantizes in blocks on CPUs.
_MIN_ONNXRUNTIME = {20: "1.18", 21: "1.20"}
# Smaller tensors stay in the protobuf: ONNX Runtime reads shapes and scalars while it loads a graph.
_EXTERNAL_FROM_BYTES = 1024
_DTYPES = {
    ir.DataType.BOOL: "bool",
    ir.DataType.FLOAT: "float32",
    ir.DataType.INT8: "int8",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
}


def clean(model: ir.Model) -> None:
    """Remove what differs between builds or describes the build machine: metadata, doc strings, node names."""
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version = "onnx-ml-bridge", None
    graph = model.graph
    graph.name, graph.doc_string = "main", None
    graph.metadata_props.clear()
    for number, node in enumerate(graph.all_nodes()):
        node.name = f"{node.op_type}_{number}"
        _clear_notes(node)
        for output in node.outputs:
            _clear_notes(output)
    for value in (*graph.inputs, *graph.initializers.values()):
        _clear_notes(value)


def _clear_notes(element: ir.Node | ir.Value) -> None:
    element.metadata_props.clear()
    element.doc_string = None


def save_graph(model: ir.Model, folder: Path, file: str) -> None:
    """Write the graph to `folder/file` and its tensors of 1 KiB or more to the data file beside it."""
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, target, external_data=Path(data_file(file)).name, size_threshold_bytes=_EXTERNAL_FROM_BYTES)


def describe_graph(model: ir.Model, file: str) -> Graph:
    """Return the manifest's description of a graph that is saved as `file`.

    :raises ValueError: for an input or output without a name, type or shape.
    """
    graph = model.graph
    return Graph(
        file=file,
        ir_version=int(model.ir_version),
        domains=dict(sorted(model.opset_imports.items())),
        min_onnxruntime=_MIN_ONNXRUNTIME[model.opset_imports.get("", OPSET)],
        inputs=tuple(_tensor(value) for value in graph.inputs),
        outputs=tuple(_tensor(value) for value in graph.outputs),
    )


def _tensor(value: ir.Value) -> Tensor:
    if value.name is None or value.dtype is None or value.shape is None:
        raise ValueError(f"{value} has no name, type or shape")
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Tensor(value.name, _DTYPES[value.dtype], dims)
