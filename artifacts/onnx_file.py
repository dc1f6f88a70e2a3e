"""Reads what must be known about an ONNX file before any engine opens it.

The base install has no `onnx`, and a file that keeps tensor data outside itself must be found out before something
follows that reference, so the protobuf is walked here. Field numbers are those of onnx.proto (ONNX 1.23).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ArtifactError

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
MAX_GRAPH_DEPTH = 16
_EXTERNAL = 1


@dataclass(frozen=True)
class TensorInfo:
    """A graph's input or output: name, element type (as `DTYPES` names it) and number of dimensions."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself. `external` holds the locations of data outside of it, as written there."""

    ir_version: int
    domains: dict[str, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    external: tuple[str, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Walk the protobuf at `path`, or raise `ArtifactError` with the code `graph`."""
    try:
        return _read_model(memoryview(path.read_bytes()))
    except (ValueError, IndexError, RecursionError) as error:
        raise ArtifactError("graph", f"{path.name} is no ONNX file: {error}") from error


def _read_model(model: memoryview) -> OnnxFile:
    ir_version, domains, external = 0, {}, set[str]()
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    graphs = 0
    for number, value in _fields(model):
        if number == 1 and isinstance(value, int):
            ir_version = value
        elif number == 7 and isinstance(value, memoryview):
            graphs += 1
            _walk_graph(value, external, 0)
            inputs, outputs = _signature(value)
        elif number == 8 and isinstance(value, memoryview):
            domain, version = _opset(value)
            domains[domain] = version
        elif number == 20 and isinstance(value, memoryview):
            for graph in (*_nested(value, 1), *_nested(value, 2)):
                _walk_graph(graph, external, 0)
        elif number == 25 and isinstance(value, memoryview):
            _walk_function(value, external)
    if graphs != 1:
        raise ValueError(f"it holds {graphs} graphs, not 1")
    return OnnxFile(ir_version, domains, tuple(inputs), tuple(outputs), tuple(sorted(external)))


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
    return _text(entry, 1), version


def _walk_graph(graph: memoryview, external: set[str], depth: int) -> None:
    """Collect the external data locations of a GraphProto and everything in it."""
    if depth > MAX_GRAPH_DEPTH:
        raise ValueError(f"subgraphs are nested deeper than {MAX_GRAPH_DEPTH}")
    for number, value in _messages(graph):
        if number == 1:
            _walk_node(value, external, depth)
        elif number == 5:
            _walk_tensor(value, external)
        elif number == 15:
            _walk_sparse(value, external)


def _walk_function(function: memoryview, external: set[str]) -> None:
    for number, value in _messages(function):
        if number == 7:
            _walk_node(value, external, 0)
        elif number == 11:
            _walk_attribute(value, external, 0)


def _walk_node(node: memoryview, external: set[str], depth: int) -> None:
    for number, value in _messages(node):
        if number == 5:
            _walk_attribute(value, external, depth)


def _walk_attribute(attribute: memoryview, external: set[str], depth: int) -> None:
    for number, value in _messages(attribute):
        if number in (5, 10):
            _walk_tensor(value, external)
        elif number in (6, 11):
            _walk_graph(value, external, depth + 1)
        elif number in (22, 23):
            _walk_sparse(value, external)


def _walk_sparse(sparse: memoryview, external: set[str]) -> None:
    for number, value in _messages(sparse):
        if number in (1, 2):
            _walk_tensor(value, external)


def _walk_tensor(tensor: memoryview, external: set[str]) -> None:
    locations, is_external = [], False
    for number, value in _fields(tensor):
        if number == 14 and value == _EXTERNAL:
            is_external = True
        elif number == 13 and isinstance(value, memoryview) and _text(value, 1) == "location":
            locations.append(_text(value, 2))
    if is_external and len(locations) != 1:
        raise ValueError(f"a tensor's external data has {len(locations)} locations, not 1")
    external.update(locations)


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
