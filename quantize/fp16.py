"""Convert fp32 graphs to fp16 graphs, for GPUs. Inputs and outputs keep their types."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
    DEFAULT_OP_BLOCK_LIST,
    convert_float_to_float16,
)

from ..artifacts.constants import EXACT, FP16, graph_file
from ..artifacts.manifest import Variant
from ..artifacts.staging import Staged
from ..graphs.attention_loop import attention_loops, float32_nodes, use_half_products
from ..graphs.files import clean, describe_graph, save_graph

# Operators that stay in float32: sums over many elements, and the last steps of pooling, whose result has the length 1.
_EXACT_OPERATORS = ("LayerNormalization", "Softmax", "ReduceL2", "ReduceSum", "ReduceMean", "Clip", "Expand", "Div")


def add_fp16(staged: Staged, role: str) -> Staged:
    """Convert the fp32 graph of a role, and add the result as the fp16 variant."""
    source, file = staged.variants[EXACT].graphs[role].file, graph_file("model", FP16)
    model = convert(staged.folder / source)
    save_graph(model, staged.folder, file)
    return staged.with_variant(FP16, Variant({role: describe_graph(model, file)}, staged.settings.gate(FP16), None))


def convert(path: Path) -> ir.Model:
    """Return the graph of a file with float16 weights and operators, except for those that stay in float32."""
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_EXACT_OPERATORS]
    # The converter cannot convert the body of a loop, which reads values of the graph around it
    exact = [str(node.name) for node in float32_nodes(ir.load(path).graph)]
    converted = convert_float_to_float16(
        onnx.load(path), keep_io_types=True, op_block_list=blocked, node_block_list=exact
    )
    _drop_repeated_nodes(converted.graph)
    _skip_detours(converted.graph)
    model: ir.Model = ir.from_proto(converted)
    for loop in attention_loops(model.graph):
        use_half_products(loop)
    clean(model)
    return model


def _drop_repeated_nodes(graph: onnx.GraphProto) -> None:
    """Drop all but the first of equal nodes: the converter casts a weight once for each node that reads it."""
    unique = {tuple(node.output): node for node in reversed(graph.node)}
    nodes = [node for node in graph.node if unique[tuple(node.output)] is node]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _skip_detours(graph: onnx.GraphProto) -> None:
    """Let values that stay in float32 not be rounded to float16 between two nodes, or between a node and an output."""
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        rounded = producers.get(node.input[0]) if _casts_to(node, onnx.TensorProto.FLOAT) else None
        if rounded is not None and _casts_to(rounded, onnx.TensorProto.FLOAT16):
            exact = producers.get(rounded.input[0])
            if exact is not None and exact.op_type in _EXACT_OPERATORS:
                node.op_type, node.input[0] = "Identity", rounded.input[0]
                del node.attribute[:]


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == dtype
