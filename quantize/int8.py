"""The int8 variant of a graph: smoothing, rounding, int8 products and tables, and the error of each product."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..artifacts.errors import BuildError
from ..artifacts.manifest import Calibration, Quantization
from ..graphs.graph_builder import MICROSOFT
from ..graphs.graph_editor import GraphEditor, Insertion
from ..runtime import cpu
from ..runtime.session import create_session
from . import smoothquant
from .calibration import ActivationStats, Feeds, observe
from .constant_products import fold_constant_products
from .gptq import round_weights
from .int8_scheme import (
    GELU_ZERO_POINT,
    INT8_LEVELS,
    ActivationScheme,
    Floats,
    dequantize_rows,
    noise_ratio_db,
    quantize_rows,
    quantize_table,
)
from .matmul_groups import Linear, LinearGroup, constant, find_groups, find_tables

SCHEME = "row-uint8-channel-int8"
# The operators of int8 products: QuantizeLinear takes blocks since opset 21.
INT8_OPSETS = {"": 21, MICROSOFT: 1}


@dataclass(frozen=True)
class QuantizedGraph:
    """An int8 graph that is not saved yet, the error of each product in dB, and the names of the int8 tables."""

    model: ir.Model
    layers: dict[str, float]
    tables: tuple[str, ...]


@dataclass(frozen=True)
class _QuantizedActivation:
    """An activation as bytes, the scale of each row, and the zero point, as values of the graph."""

    q: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def quantize_graph(folder: Path, file: str, inputs: Sequence[Feeds], exact: Collection[str] = ()) -> QuantizedGraph:
    """Quantize the fp32 graph `folder/file`, calibrated on `inputs` (one text each, without padding).

    :param exact: outputs whose last product stays in float32. The head of a classifier is small, and no later layer
        could compensate its error.
    :raises BuildError: with the code `unsupported_model` if the graph has nothing to quantize.
    """
    model = ir.load(folder / file)
    editor = GraphEditor(model.graph)
    fold_constant_products(editor, folder, file, inputs[0])
    groups = find_groups(model.graph, exact)
    names = [str(group.activation.name) for group in groups]  # read before smoothing, which replaces some activations
    stats = observe(folder, file, names, inputs) if groups else {}
    smoothquant.smooth(editor, groups, stats)
    layers: dict[str, float] = {}
    for name, group in dict(zip(names, groups, strict=True)).items():
        layers |= _quantize_group(editor, group, stats[name])
    tables = tuple(quantize_table_lookup(editor, node) for node in find_tables(model.graph))
    if not layers and not tables:
        raise BuildError(
            "unsupported_model",
            f"{file} has neither a matrix product nor a large table that int8 would make smaller",
            hint='Build it with variants = ["fp32"].',
        )
    editor.drop_unused_constants()
    if layers:  # a graph with int8 tables alone has only operators of the fp32 graph
        model.opset_imports.update(INT8_OPSETS)
    return QuantizedGraph(model, layers, tables)


def describe_quantization(
    quantized: QuantizedGraph, calibration: Calibration, error: Mapping[str, float]
) -> Quantization:
    """Return the manifest's description of how an int8 variant was quantized.

    :param error: the result of `output_error` for the saved graph.
    """
    layers = {name: round(value, 2) for name, value in quantized.layers.items()}
    rounded = {name: round(value, 6) for name, value in error.items()}
    return Quantization(SCHEME, smoothquant.ALPHA, GELU_ZERO_POINT, calibration, quantized.tables, layers, rounded)


def output_error(folder: Path, exact: str, approximate: str, output: str, inputs: Sequence[Feeds]) -> dict[str, float]:
    """Compare an output of two graphs on all inputs.

    :return: the mean and the lowest cosine between the outputs for one input, and the largest absolute difference.
    """
    sessions = [create_session(folder / file, cpu.usable_cpus()) for file in (exact, approximate)]
    pairs = [
        [session.run([output], dict(feeds))[0].astype(np.float64).ravel() for session in sessions] for feeds in inputs
    ]
    cosines = [float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)) for a, b in pairs]
    return {
        "cosine_mean": float(np.mean(cosines)),
        "cosine_min": min(cosines),
        "max_abs": max(float(np.abs(a - b).max()) for a, b in pairs),
    }


def _quantize_group(editor: GraphEditor, group: LinearGroup, stats: ActivationStats) -> dict[str, float]:
    """Quantize an activation and every product with it, and return each product's signal-to-noise ratio in dB."""
    producer = group.activation.producer()
    assert producer is not None  # `find_groups` returns only activations that a node computes
    features = group.linears[0].weight.shape[0]
    q, scale = quantize_rows_in_graph(editor.after(producer), group.activation, group.scheme, features)
    zero_point = editor.constant(np.uint8(group.scheme.zero_point), name=f"zero_point_{group.scheme.zero_point}")
    activation = _QuantizedActivation(q, scale, zero_point)
    sample = stats.sample
    approximate = dequantize_rows(*quantize_rows(sample, group.scheme), group.scheme)
    ratios = {}
    for linear in group.linears:
        weight, scales = round_weights(linear.weight, stats.gram)
        ratios[linear.name] = noise_ratio_db(sample @ linear.weight, approximate @ (weight * scales))
        _replace_product(editor, linear, activation, weight, scales)
    return ratios


def quantize_rows_in_graph(
    chain: Insertion, x: ir.Value, scheme: ActivationScheme, features: int
) -> tuple[ir.Value, ir.Value]:
    """Insert nodes that compute `int8_scheme.quantize_rows`, and return the bytes and the scale of every row.

    QuantizeLinear divides by the scale of each row if a block is as long as a row. With one scale for all rows, a Div
    before it would read and write the activation once more.

    :param features: the size of the last dimension of `x`.
    """
    last = chain.constant(np.array([-1], np.int64), name="axis")
    peak = chain.op("ReduceMax", x, last, keepdims=1)
    if scheme.two_sided:
        lowest = chain.op("ReduceMin", x, last, keepdims=1)
        peak = chain.op("Max", peak, chain.op("Neg", lowest))
    scale = chain.op("Mul", peak, chain.constant(np.float32(1 / scheme.levels), name="per_level"))
    scale = chain.op("Max", scale, chain.constant(np.float32(scheme.min_scale), name="min_scale"))
    zero_point = ir.tensor(np.array([scheme.zero_point], np.uint8))
    zero_points = chain.op("ConstantOfShape", chain.op("Shape", scale), value=zero_point)
    return chain.op("QuantizeLinear", x, scale, zero_points, axis=-1, block_size=features), scale


def _replace_product(
    editor: GraphEditor, linear: Linear, activation: _QuantizedActivation, weight: NDArray[np.int8], scales: Floats
) -> None:
    """Replace a MatMul by a product of bytes.

    MatMulIntegerToFloat accepts only one scale for its whole left operand. It is 1 here, and the result is multiplied
    by the row scales afterwards. The standard operators MatMulInteger, Cast and two Mul would make MiniLM 8% slower. If
    row and channel scales are multiplied with each other first, some releases of ONNX Runtime fuse the nodes wrongly.
    """
    chain = editor.after(linear.node)
    one = editor.constant(np.float32(1), name="one")
    q_weight, channels = chain.constant(weight, name="weight"), chain.constant(scales, name="channels")
    inputs = activation.q, q_weight, one, channels, activation.zero_point
    product = chain.op("MatMulIntegerToFloat", *inputs, domain=MICROSOFT)
    editor.replace(linear.node, chain.op("Mul", product, activation.scale))


def quantize_table_lookup(editor: GraphEditor, gather: ir.Node, levels: int = INT8_LEVELS) -> str:
    """Make a Gather read int8 entries and their scales, and return the name of its table.

    :param levels: the largest magnitude of an int8 entry.
    :raises ValueError: if the table is not a constant.
    """
    table = gather.inputs[0]
    tensor = constant(table)
    if table is None or tensor is None:
        raise ValueError(f"{gather.name} reads no constant table")
    entries, scales = quantize_table(tensor.numpy(), levels)
    chain = editor.after(gather)
    index = gather.inputs[1]
    rows = chain.op("Gather", editor.constant(entries, name=f"{table.name}_int8"), index)
    scale = chain.op("Gather", editor.constant(scales, name=f"{table.name}_scales"), index)
    rows = chain.op("Cast", rows, to=int(ir.DataType.FLOAT))
    editor.replace(gather, chain.op("Mul", rows, scale))
    return str(table.name)
