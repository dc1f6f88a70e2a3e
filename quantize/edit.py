"""Small edits of a graph with onnx-ir: new nodes with stable names, placed where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike


class GraphEditor:
    """Inserts nodes and constants into one graph; names follow from the place, so that builds are reproducible."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._count = 0

    def after(self, anchor: ir.Node) -> Insertion:
        """Start a chain of nodes that will stand right after `anchor`."""
        self._count += 1
        return Insertion(self, anchor, f"{anchor.name}_q{self._count}")

    def before(self, anchor: ir.Node) -> Insertion:
        """Start a chain of nodes that will stand right before `anchor`."""
        self._count += 1
        return Insertion(self, anchor, f"{anchor.name}_q{self._count}", is_before=True)

    def redirect(self, old: ir.Value, new: ir.Value, uses: Iterable[tuple[ir.Node, int]]) -> None:
        """Let the given readers of `old`, and the graph's outputs, read `new` instead."""
        for node, position in uses:
            node.replace_input_with(position, new)
        for index, output in enumerate(self.graph.outputs):
            if output is old:
                new.name, old.name = old.name, f"{old.name}_replaced"
                new.shape, new.type = old.shape, old.type
                self.graph.outputs[index] = new

    def replace(self, node: ir.Node, new: ir.Value) -> None:
        """Put `new` in the place of a node's only output and remove the node."""
        old = node.outputs[0]
        self.redirect(old, new, list(old.uses()))
        self.graph.remove(node, safe=True)

    def constant(self, name: str, value: ArrayLike) -> ir.Value:
        """The graph's initializer of that name, made at the first call."""
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.ascontiguousarray(value), name=name)
            self.graph.register_initializer(ir.val(name, const_value=tensor))
        return self.graph.initializers[name]

    def drop_unused_constants(self) -> None:
        """Remove initializers that nothing reads any more."""
        outputs = set(self.graph.outputs)
        for name in [name for name, value in self.graph.initializers.items() if not value.uses()]:
            if self.graph.initializers[name] not in outputs:
                del self.graph.initializers[name]


class Insertion:
    """A chain of new nodes after an anchor, or before it."""

    def __init__(self, editor: GraphEditor, anchor: ir.Node, prefix: str, *, is_before: bool = False) -> None:
        self._editor = editor
        self._anchor = anchor
        self._is_before = is_before
        self._prefix = prefix
        self._count = 0

    def constant(self, name: str, value: ArrayLike) -> ir.Value:
        """An initializer of this chain."""
        return self._editor.constant(f"{self._prefix}_{name}", value)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, int | ir.Attr] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Append a node; gives its output."""
        self._count += 1
        name = f"{self._prefix}_{op_type}_{self._count}"
        node = ir.node(op_type, inputs, dict(attributes or {}), domain=domain, name=name, num_outputs=1)
        node.outputs[0].name = name
        if self._is_before:
            self._editor.graph.insert_before(self._anchor, node)
        else:
            self._editor.graph.insert_after(self._anchor, node)
            self._anchor = node
        return node.outputs[0]
