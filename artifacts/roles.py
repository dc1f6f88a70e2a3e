"""Whether a graph, as its manifest declares it, can have its role."""

from __future__ import annotations

from .family import Interface
from .manifest import Graph, Tensor


def role_problems(interface: Interface, graph: Graph) -> list[str]:
    """Why a graph cannot have a role with that interface; empty where it can."""
    inputs, outputs = _kinds(graph.inputs), _kinds(graph.outputs)
    known = {**interface.inputs, **interface.optional_inputs}
    problems = [f"no input {name}" for name in interface.inputs if name not in inputs]
    problems += [
        f"an input {name} {kind}, not one of {known}" for name, kind in inputs.items() if known.get(name) != kind
    ]
    if (len(inputs), len(outputs)) != (len(graph.inputs), len(graph.outputs)):
        problems.append("two inputs or two outputs of one name")
    if outputs != interface.outputs:
        problems.append(f"the outputs {outputs}, not {dict(interface.outputs)}")
    return problems


def _kinds(tensors: tuple[Tensor, ...]) -> dict[str, tuple[str, int]]:
    return {tensor.name: (tensor.dtype, len(tensor.dims)) for tensor in tensors}
