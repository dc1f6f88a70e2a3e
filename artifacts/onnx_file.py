"""Reads what must be known about an ONNX file before any engine opens it.

The base install has no `onnx`, and a file that keeps tensor data outside itself must be found out before something
follows that reference, so the protobuf is walked here. Field numbers are those of onnx.proto (ONNX 1.23).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ArtifactError

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
MAX_GRAPH_DEPTH = 16
_EXTERNAL = 1


@dataclass(frozen=True, order=True)
class TensorInfo:
    """A graph's input or output: name, element type (as `DTYPES` names it) and number of dimensions."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself.

    `external` holds the locations of data outside of it, as written there; `used_domains` the operator domains of all
    its nodes, those of its own functions left out.
    """

    ir_version: int
    domains: dict[str, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    external: tuple[str, ...]
    used_domains: frozenset[str]


def read_onnx(path: Path) -> OnnxFile:
    """Walk the protobuf at `path`, or raise `ArtifactError` with the code `graph`."""
    try:
        return _read_model(memoryview(path.read_bytes()))
    except (ValueError, IndexError, RecursionError) as error:
        raise ArtifactError("graph", f"{path.name} is no ONNX file: {error}") from error


@dataclass
class _Found:
    """What a walk gathers: locations of outside data, and operator domains in use."""

    external: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)


def _read_model(model: memoryview) -> OnnxFile:
    parts: dict[int, list[memoryview]] = {7: [], 8: [], 20: [], 25: []}
    for number, value in _messages(model):
        parts.setdefault(number, []).append(value)
    (graphs, opsets, trainings, functions), found = (parts[number] for number in (7, 8, 20, 25)), _Found()
    if len(graphs) != 1:
        raise ValueError(f"it holds {len(graphs)} graphs, not 1")
    trained = [graph for training in trainings for part in (1, 2) for graph in _nested(training, part)]
    for graph in (*graphs, *trained):
        _walk_graph(graph, found, 0)
    for function in functions:
        _walk_function(function, found)
    imports = [_opset(opset) for opset in opsets]
    if len(dict(imports)) != len(imports):
        raise ValueError("it imports an operator domain twice")
    ir_version = next((value for number, value in _fields(model) if number == 1 and isinstance(value, int)), 0)
    used = frozenset(found.domains - {_domain(_text(function, 10)) for function in functions})
    inputs, outputs = _signature(graphs[0])
    return OnnxFile(ir_version, dict(imports), tuple(inputs), tuple(outputs), tuple(sorted(found.external)), used)


def _domain(name: str) -> str:
    """`ai.onnx` and the empty name are one domain."""
    return "" if name == "ai.onnx" else name


def _signature(graph: memoryview) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Inputs (without those that are initializers) and outputs of a GraphProto."""
    inputs, outputs, initializers = [], [], set()
    for number, value in _messages(graph):
        if number == 11:
            inputs.append(_tensor_info(value))
        elif number == 12:
            outputs.append(_tensor_info(value))
        elif number == 5:
            initializers.add(_text(value, 8))
    return [tensor for tensor in inputs if tensor.name not in initializers], outputs


def _tensor_info(value_info: memoryview) -> TensorInfo:
    name, dtype, rank = _text(value_info, 1), "", -1
    for tensor_type in _nested(value_info, 2, 1):
        for number, value in _fields(tensor_type):
            if number == 1 and isinstance(value, int):
                dtype = DTYPES.get(value, f"type {value}")
            elif number == 2 and isinstance(value, memoryview):
                rank = sum(1 for dimension, _ in _messages(value) if dimension == 1)
    return TensorInfo(name, dtype, rank)


def _opset(entry: memoryview) -> tuple[str, int]:
    version = next((value for number, value in _fields(entry) if number == 2 and isinstance(value, int)), 0)
    return _domain(_text(entry, 1)), version


def _walk_graph(graph: memoryview, found: _Found, depth: int) -> None:
    """Collect the external data locations of a GraphProto and everything in it."""
    if depth > MAX_GRAPH_DEPTH:
        raise ValueError(f"subgraphs are nested deeper than {MAX_GRAPH_DEPTH}")
    for number, value in _messages(graph):
        if number == 1:
            _walk_node(value, found, depth)
        elif number == 5:
            _walk_tensor(value, found)
        elif number == 15:
            _walk_sparse(value, found)


def _walk_function(function: memoryview, found: _Found) -> None:
    for number, value in _messages(function):
        if number == 7:
            _walk_node(value, found, 0)
        elif number == 11:
            _walk_attribute(value, found, 0)


def _walk_node(node: memoryview, found: _Found, depth: int) -> None:
    for number, value in _messages(node):
        if number == 5:
            _walk_attribute(value, found, depth)
    found.domains.add(_domain(_text(node, 7)))


def _walk_attribute(attribute: memoryview, found: _Found, depth: int) -> None:
    for number, value in _messages(attribute):
        if number in (5, 10):
            _walk_tensor(value, found)
        elif number in (6, 11):
            _walk_graph(value, found, depth + 1)
        elif number in (22, 23):
            _walk_sparse(value, found)


def _walk_sparse(sparse: memoryview, found: _Found) -> None:
    for number, value in _messages(sparse):
        if number in (1, 2):
            _walk_tensor(value, found)


def _walk_tensor(tensor: memoryview, found: _Found) -> None:
    locations, is_external = [], False
    for number, value in _fields(tensor):
        if number == 14 and value == _EXTERNAL:
            is_external = True
        elif number == 13 and isinstance(value, memoryview) and _text(value, 1) == "location":
            locations.append(_text(value, 2))
    if is_external and len(locations) != 1:
        raise ValueError(f"a tensor's external data has {len(locations)} locations, not 1")
    found.external.update(locations)


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((number, value) for number, value in _fields(message) if isinstance(value, memoryview))


def _nested(message: memoryview, *path: int) -> Iterator[memoryview]:
    """All submessages reached by the field numbers of `path`."""
    if not path:
        yield message
        return
    for number, value in _messages(message):
        if number == path[0]:
            yield from _nested(value, *path[1:])


def _text(message: memoryview, field: int) -> str:
    found = [bytes(value).decode("utf-8") for number, value in _messages(message) if number == field]
    return found[-1] if found else ""


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message: an int for a varint, a view for a length-delimited field."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("a field reaches beyond the end")
        if wire == 2:
            yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a varint is longer than 10 bytes")
