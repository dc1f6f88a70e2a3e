"""Products that no input of the graph reaches: computed once here, since ONNX Runtime folds float products only.

DeBERTa projects its table of relative positions in every layer, with the weights of its queries and keys. In float32
that happens once, at load; as products of bytes it would happen in every run, and with an error.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from .calibration import Feeds, probe
from .edit import GraphEditor


def fold_constant_products(editor: GraphEditor, folder: Path, file: str, feeds: Feeds) -> None:
    """Put values in the place of every MatMul of the graph `folder/file` that depends on no input.

    :param editor: of the same graph.
    :param feeds: any inputs that the graph runs with.
    """
    nodes = constant_products(editor.graph)
    if not nodes:
        return
    names = [str(node.outputs[0].name) for node in nodes]
    with probe(folder, file, names) as session:
        values = session.run(names, dict(feeds))
    for node, name, value in zip(nodes, names, values, strict=True):
        editor.replace(node, editor.constant(f"{name}_folded", value))


def constant_products(graph: ir.Graph) -> list[ir.Node]:
    """Every MatMul whose two sides follow from initializers alone."""
    known = set(graph.initializers.values())
    found = []
    for node in graph:
        if all(value is None or value in known for value in node.inputs) and not node.op_type.startswith("Random"):
            known.update(node.outputs)
            found += [node] * (node.op_type == "MatMul")
    return found
