"""The int8 variant of a graph: smoothing, rounding, row-wise products, quantized tables, and what it all cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ..artifacts.manifest import Calibration, Quantization
from ..runtime import cpu
from ..runtime.session import create_session
from . import smoothquant
from .calibration import ActivationStats, Feeds, observe
from .constants import fold_constant_products
from .edit import GraphEditor, Insertion
from .gptq import round_weights
from .int8_scheme import (
    GELU_ZERO_POINT,
    INT8_LEVELS,
    ActivationScheme,
    dequantize_rows,
    noise_ratio_db,
    quantize_rows,
    quantize_table,
)
from .matmul_groups import Linear, LinearGroup, constant, find_groups, find_tables

SCHEME = "row-uint8-channel-int8"
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class QuantizedGraph:
    """An int8 graph, not yet saved, and the error of each of its products in dB."""

    model: ir.Model
    layers: dict[str, float]
    tables: tuple[str, ...]


def quantize_graph(folder: Path, file: str, inputs: Sequence[Feeds], exact: Collection[str] = ()) -> QuantizedGraph:
    """Quantize the fp32 graph `folder/file`, calibrated on `inputs` (one text each, without padding).

    :param exact: outputs whose own product stays in float32: a classifier's head is small, and what it loses no later
        layer can make up for.
    """
    model = ir.load(folder / file)
    editor = GraphEditor(model.graph)
    fold_constant_products(editor, folder, file, inputs[0])
    groups = find_groups(model.graph, exact)
    names = [str(group.activation.name) for group in groups]
    stats = observe(folder, file, names, inputs)
    keyed = dict(zip(names, groups, strict=True))
    smoothquant.smooth(editor, groups, stats)
    layers: dict[str, float] = {}
    for name, group in keyed.items():
        layers |= _quantize_group(editor, group, stats[name])
    tables = tuple(quantize_table_lookup(editor, node) for node in find_tables(model.graph))
    editor.drop_unused_constants()
    model.opset_imports[_MICROSOFT] = 1
    return QuantizedGraph(model, layers, tables)


def describe_quantization(quantized: QuantizedGraph, calibration: Calibration, error: dict[str, float]) -> Quantization:
    """The manifest's entry; `error` is that of the saved graph's output."""
    layers = {name: round(value, 2) for name, value in quantized.layers.items()}
    rounded = {name: round(value, 6) for name, value in error.items()}
    return Quantization(SCHEME, smoothquant.ALPHA, GELU_ZERO_POINT, calibration, quantized.tables, layers, rounded)


def output_error(folder: Path, exact: str, approximate: str, output: str, inputs: Sequence[Feeds]) -> dict[str, float]:
    """How far one graph's `output` is from another's: cosines of the whole output of each input, largest difference."""
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
    """Quantize one activation and every product with it; gives each product's signal to noise ratio in dB."""
    producer = group.activation.producer()
    assert producer is not None  # find_groups sees to it
    q, scale = quantize_rows_in_graph(editor.after(producer), group.activation, group.scheme)
    zero_point = editor.constant(f"zero_point_{group.scheme.zero_point}", np.uint8(group.scheme.zero_point))
    sample = stats.sample
    seen = dequantize_rows(*quantize_rows(sample, group.scheme), group.scheme)
    ratios = {}
    for linear in group.linears:
        weight, scales = round_weights(linear.weight, stats.gram)
        ratios[linear.name] = noise_ratio_db(sample @ linear.weight, seen @ (weight * scales))
        _replace_product(editor, linear, q, scale, zero_point, weight, scales)
    return ratios


def quantize_rows_in_graph(chain: Insertion, x: ir.Value, scheme: ActivationScheme) -> tuple[ir.Value, ir.Value]:
    """Nodes that compute what `rows.quantize_rows` does: bytes like `x`, and the scale of every row."""
    last = chain.constant("axis", np.array([-1], np.int64))
    peak = chain.node("ReduceMax", [x, last], {"keepdims": 1})
    if scheme.two_sided:
        lowest = chain.node("ReduceMin", [x, last], {"keepdims": 1})
        peak = chain.node("Max", [peak, chain.node("Neg", [lowest])])
    scale = chain.node("Mul", [peak, chain.constant("per_level", np.float32(1 / scheme.levels))])
    scale = chain.node("Max", [scale, chain.constant("min_scale", np.float32(scheme.min_scale))])
    levels = chain.node("Div", [x, scale])
    zero_point = chain.constant("zero_point", np.uint8(scheme.zero_point))
    return chain.node("QuantizeLinear", [levels, chain.constant("one", np.float32(1)), zero_point]), scale


def _replace_product(
    editor: GraphEditor,
    linear: Linear,
    q: ir.Value,
    scale: ir.Value,
    zero_point: ir.Value,
    weight: np.ndarray,
    channel_scales: np.ndarray,
) -> None:
    """Put the product of bytes in the place of a MatMul.

    MatMulIntegerToFloat takes one scale for its whole left side, here 1: the row scales follow as a factor of their
    own. (MatMulInteger, Cast and two Mul, all standard, measured 8% slower for the whole of MiniLM; and ONNX Runtime
    has been seen to fuse them wrongly where the row and channel scales are multiplied with each other first.)
    """
    chain = editor.after(linear.node)
    one = editor.constant("one", np.float32(1))
    inputs = [q, chain.constant("weight", weight), one, chain.constant("channels", channel_scales), zero_point]
    product = chain.node("MatMulIntegerToFloat", inputs, domain=_MICROSOFT)
    editor.replace(linear.node, chain.node("Mul", [product, scale]))


def quantize_table_lookup(editor: GraphEditor, gather: ir.Node, levels: int = INT8_LEVELS) -> str:
    """Let a Gather read int8 entries, of `levels` on each side of 0, and their scales; gives the table's name."""
    table = gather.inputs[0]
    tensor = constant(table)
    if table is None or tensor is None:
        raise ValueError(f"{gather.name} reads no constant table")
    entries, scales = quantize_table(tensor.numpy(), levels)
    chain = editor.after(gather)
    index = gather.inputs[1]
    rows = chain.node("Gather", [editor.constant(f"{table.name}_int8", entries), index])
    scale = chain.node("Gather", [editor.constant(f"{table.name}_scales", scales), index])
    rows = chain.node("Cast", [rows], {"to": int(ir.DataType.FLOAT)})
    editor.replace(gather, chain.node("Mul", [rows, scale]))
    return str(table.name)
