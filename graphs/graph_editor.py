"""Edits an existing graph with onnx-ir: `GraphEditor` replaces nodes, `Insertion` inserts new nodes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from .graph_builder import NodeBuilder, initializer


class GraphEditor:
    """Replaces nodes and constants of one graph.

    The names of new nodes are derived from the names of existing nodes, so that builds are reproducible.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._insertions = 0

    def after(self, anchor: ir.Node) -> Insertion:
        """Return an insertion that adds new nodes right after the existing node `anchor`."""
        return Insertion(self, anchor, self._prefix(anchor))

    def before(self, anchor: ir.Node) -> Insertion:
        """Return an insertion that adds new nodes right before the existing node `anchor`."""
        return Insertion(self, anchor, self._prefix(anchor), is_before=True)

    def redirect(self, old: ir.Value, new: ir.Value, uses: Iterable[tuple[ir.Node, int]]) -> None:
        """Replace `old` by `new` in the given inputs of nodes and in the graph's outputs."""
        for node, index in uses:
            node.replace_input_with(index, new)
        for index, output in enumerate(self.graph.outputs):
            if output is old:
                new.name, old.name = old.name, f"{old.name}_replaced"
                new.shape, new.type = old.shape, old.type
                self.graph.outputs[index] = new

    def replace(self, node: ir.Node, new: ir.Value) -> None:
        """Remove a node with one output; everything that reads this output then reads `new`."""
        old = node.outputs[0]
        self.redirect(old, new, list(old.uses()))
        self.graph.remove(node, safe=True)

    def constant(self, array: ArrayLike, *, name: str) -> ir.Value:
        """Return the graph's initializer with this name; the first call stores it. A scalar is stored as `[1]`."""
        if name not in self.graph.initializers:
            self.graph.register_initializer(initializer(name, np.atleast_1d(array)))
        return self.graph.initializers[name]

    def drop_unused_constants(self) -> None:
        """Remove the initializers that no node reads and that are not outputs."""
        outputs = set(self.graph.outputs)
        unused = [name for name, value in self.graph.initializers.items() if not value.uses() and value not in outputs]
        for name in unused:
            del self.graph.initializers[name]

    def _prefix(self, anchor: ir.Node) -> str:
        self._insertions += 1
        return f"{anchor.name}_q{self._insertions}"


class Insertion(NodeBuilder):
    """A chain of new nodes right after or right before an existing node; the names of new nodes begin with `prefix`."""

    def __init__(self, editor: GraphEditor, anchor: ir.Node, prefix: str, *, is_before: bool = False) -> None:
        self._editor = editor
        self._anchor = anchor
        self._is_before = is_before
        self._prefix = prefix
        self._op_count = 0

    def constant(self, array: ArrayLike, *, name: str) -> ir.Value:
        """Return a new initializer whose name begins with the prefix of this insertion; a scalar is stored as `[1]`."""
        return self._editor.constant(array, name=f"{self._prefix}_{name}")

    def _node_name(self, op_type: str) -> str:
        self._op_count += 1
        return f"{self._prefix}_{op_type}_{self._op_count}"

    def _output_name(self, node_name: str, index: int) -> str:
        return node_name if index == 0 else f"{node_name}_{index}"

    def _append(self, node: ir.Node) -> None:
        if self._is_before:
            self._editor.graph.insert_before(self._anchor, node)
        else:
            self._editor.graph.insert_after(self._anchor, node)
            self._anchor = node
