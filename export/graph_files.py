"""ONNX files as the artifact wants them: clean, reproducible, weights beside the protobuf."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from ..artifacts.constants import data_file
from ..artifacts.manifest import Graph, Tensor

OPSET = 20
# The first release of ONNX Runtime that reads what is written here: IR version 10 and opset 20 need 1.18.
MIN_ONNXRUNTIME = "1.18"
# Smaller tensors stay in the protobuf: shapes and scalars that ONNX Runtime wants to see while it loads.
_EXTERNAL_FROM_BYTES = 1024


def export_module(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor | list[torch.Tensor]],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> ir.Model:
    """Trace `module` with `torch.onnx.export` and clean the result.

    :param inputs: example inputs by their names in `forward` and in its order, optional ones may be missing; sizes of
        dynamic dimensions must be 2 or more, since 0 and 1 are taken for constants. The tensors of a list become
        inputs `NAME_0`, `NAME_1`, ...
    :param dynamic: for each input the names of its dynamic dimensions; those of a list are the same for all of it.
    """
    names = {name for dims in dynamic.values() for name in dims.values()}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    axes = {key: {axis: dims[name] for axis, name in dynamic[key].items()} for key in inputs}
    shapes = {key: [axes[key]] * len(given) if isinstance(given, list) else axes[key] for key, given in inputs.items()}
    # Said of this tracer's own workings (optional operators, renamed dimensions), nothing a user could act on
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(inputs),
            input_names=_flat_names(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # only without dynamo
    clean(program.model)
    return program.model


def _flat_names(inputs: Mapping[str, torch.Tensor | list[torch.Tensor]]) -> list[str]:
    names = []
    for key, given in inputs.items():
        names += [f"{key}_{index}" for index in range(len(given))] if isinstance(given, list) else [key]
    return names


def clean(model: ir.Model) -> None:
    """Drop what would differ from build to build or tell of the builder's machine: traces, notes, node names."""
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version = "onnx-ml-bridge", None
    graph = model.graph
    graph.name, graph.doc_string = "main", None
    graph.metadata_props.clear()
    for number, node in enumerate(graph.all_nodes()):
        node.name = f"{node.op_type}_{number}"
        node.doc_string = None
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
            output.doc_string = None
    for value in [*graph.inputs, *graph.initializers.values()]:
        value.metadata_props.clear()
        value.doc_string = None


def save_graph(model: ir.Model, folder: Path, file: str) -> None:
    """Write the graph to `folder/file` and its larger weights to the data file beside it."""
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, target, external_data=Path(data_file(file)).name, size_threshold_bytes=_EXTERNAL_FROM_BYTES)


def describe_graph(model: ir.Model, file: str) -> Graph:
    """The manifest's entry of a graph."""
    graph = model.graph
    return Graph(
        file=file,
        ir_version=int(model.ir_version),
        domains=dict(sorted(model.opset_imports.items())),
        min_onnxruntime=MIN_ONNXRUNTIME,
        inputs=tuple(_tensor(value) for value in graph.inputs),
        outputs=tuple(_tensor(value) for value in graph.outputs),
    )


def _tensor(value: ir.Value) -> Tensor:
    if value.name is None or value.dtype is None or value.shape is None:
        raise ValueError(f"{value} has no name, type or shape")
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Tensor(value.name, _DTYPES[value.dtype], dims)


_DTYPES = {
    ir.DataType.BOOL: "bool",
    ir.DataType.FLOAT: "float32",
    ir.DataType.INT8: "int8",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
}
