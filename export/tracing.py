"""Converts PyTorch modules to ONNX models with `torch.onnx.export`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence

import onnx_ir as ir
import torch

from ..artifacts.originals import original_errors
from ..graphs.files import OPSET, clean

# Example inputs of `forward` by argument name; the tensors of a list are separate inputs.
Inputs = Mapping[str, torch.Tensor | list[torch.Tensor]]
# The names of the dynamic dimensions, by input and axis.
DynamicAxes = Mapping[str, Mapping[int, str]]


def export_module(module: torch.nn.Module, inputs: Inputs, outputs: Sequence[str], dynamic: DynamicAxes) -> ir.Model:
    """Trace `module` with `torch.onnx.export` and clean the result.

    :param inputs: example inputs in the order of `forward`; optional ones may be missing. Dynamic dimensions must have
        size 2 or more, since the tracer treats 0 and 1 as constants. The tensors of a list become the graph's inputs
        `NAME_0`, `NAME_1`, ...
    :param outputs: names of the graph's outputs.
    :param dynamic: the dynamic dimensions; all tensors of a list have the same names.
    """
    # The tracer warns about its own internals (optional operators, renamed dimensions); users cannot act on that.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(), original_errors("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(inputs),
            input_names=_flat_names(inputs),
            output_names=list(outputs),
            dynamic_shapes=_dynamic_shapes(inputs, dynamic),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # `torch.onnx.export` returns None only with `dynamo=False`
    clean(program.model)
    return program.model


def _dynamic_shapes(inputs: Inputs, dynamic: DynamicAxes) -> dict[str, object]:
    """Return the dynamic shapes of the inputs; dimensions with the same name share one `Dim`, so they are equal."""
    names = {name for axes in dynamic.values() for name in axes.values()}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    shapes: dict[str, object] = {}
    for key, tensors in inputs.items():
        axes = {axis: dims[name] for axis, name in dynamic[key].items()}
        shapes[key] = [axes] * len(tensors) if isinstance(tensors, list) else axes
    return shapes


def _flat_names(inputs: Inputs) -> list[str]:
    names: list[str] = []
    for key, tensors in inputs.items():
        names += [f"{key}_{index}" for index in range(len(tensors))] if isinstance(tensors, list) else [key]
    return names
