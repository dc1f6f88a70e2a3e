"""Replaces matrix products that do not depend on the inputs of the graph by their values, so that they stay exact.

DeBERTa projects its table of relative positions in every layer with the weights of queries and keys. ONNX Runtime folds
such products once at load, but only in float32: as int8 products they would be computed in every run, with an error.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from ..graphs.graph_editor import GraphEditor
from .calibration import Feeds, probe


def fold_constant_products(editor: GraphEditor, folder: Path, file: str, feeds: Feeds) -> None:
    """Replace every MatMul that does not depend on an input by its value.

    :param editor: the editor of the graph `folder/file`.
    :param feeds: any valid inputs of the graph.
    """
    nodes = constant_products(editor.graph)
    if not nodes:
        return
    names = [str(node.outputs[0].name) for node in nodes]
    with probe(folder, file, names) as session:
        values = session.run(names, dict(feeds))
    for node, name, value in zip(nodes, names, values, strict=True):
        editor.replace(node, editor.constant(value, name=f"{name}_folded"))


def constant_products(graph: ir.Graph) -> list[ir.Node]:
    """Return every MatMul whose operands are both computed only from initializers."""
    constants = set(graph.initializers.values())
    products = []
    for node in graph:
        if all(value is None or value in constants for value in node.inputs) and not node.op_type.startswith("Random"):
            constants.update(node.outputs)
            products += [node] * (node.op_type == "MatMul")
    return products
