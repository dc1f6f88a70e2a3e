"""Check that a graph has the inputs and outputs that its role in a model requires."""

from __future__ import annotations

from .family import Interface
from .manifest import Graph, Tensor


def role_problems(interface: Interface, graph: Graph) -> list[str]:
    """Compare the inputs and outputs of a graph with the interface of its role.

    :returns: one message per difference.
    """
    inputs, outputs = _kinds(graph.inputs), _kinds(graph.outputs)
    known = {**interface.inputs, **interface.optional_inputs}
    problems = [f"the input {name} is missing" for name in interface.inputs if name not in inputs]
    problems += [
        f"unexpected input {name} {kind}, expected one of {known}"
        for name, kind in inputs.items()
        if known.get(name) != kind
    ]
    if (len(inputs), len(outputs)) != (len(graph.inputs), len(graph.outputs)):
        problems.append("two inputs or two outputs have the same name")
    if outputs != interface.outputs:
        problems.append(f"unexpected outputs {outputs}, expected {dict(interface.outputs)}")
    return problems


def _kinds(tensors: tuple[Tensor, ...]) -> dict[str, tuple[str, int]]:
    return {tensor.name: (tensor.dtype, len(tensor.dims)) for tensor in tensors}
