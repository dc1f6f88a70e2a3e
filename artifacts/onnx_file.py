"""Read the interface, operator domains and external data references of an ONNX file without loading it.

This module parses the protobuf itself for two reasons: the base installation has no `onnx` package, and external data
references must be checked before a library follows them. Field numbers are those of onnx.proto (ONNX 1.23).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ArtifactError
from .reading import reading_errors

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
MAX_GRAPH_DEPTH = 16
_EXTERNAL = 1


@dataclass(frozen=True, order=True)
class TensorInfo:
    """An input or output of a graph: name, element type (a value of `DTYPES`) and number of dimensions."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class OnnxFile:
    """The properties of an ONNX file that the checks need.

    `domains` has the opset version of every imported operator domain. `external` has the locations of external tensor
    data as the file spells them. `used_domains` has the operator domains of all nodes, without the domains of the
    file's own functions.
    """

    ir_version: int
    domains: dict[str, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    external: tuple[str, ...]
    used_domains: frozenset[str]


@reading_errors()
def read_onnx(path: Path) -> OnnxFile:
    """Parse an ONNX file.

    :raises ArtifactError: with the code `graph` if the file is not a valid ONNX model, `io` if it cannot be read.
    """
    try:
        return _read_model(memoryview(path.read_bytes()))
    except (ValueError, IndexError, RecursionError) as error:
        raise ArtifactError("graph", f"{path.name} is not a valid ONNX file: {error}") from error


@dataclass
class _References:
    """The external data locations and the operator domains that a traversal of an ONNX file's graphs collects."""

    external: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)


def _read_model(model: memoryview) -> OnnxFile:
    parts: dict[int, list[memoryview]] = {7: [], 8: [], 20: [], 25: []}
    for number, value in _messages(model):
        parts.setdefault(number, []).append(value)
    (graphs, opsets, trainings, functions), references = (parts[number] for number in (7, 8, 20, 25)), _References()
    if len(graphs) != 1:
        raise ValueError(f"expected 1 graph, got {len(graphs)}")
    trained = [graph for training in trainings for part in (1, 2) for graph in _nested(training, part)]
    for graph in (*graphs, *trained):
        _walk_graph(graph, references, 0)
    for function in functions:
        _walk_function(function, references)
    imports = [_opset(opset) for opset in opsets]
    if len(dict(imports)) != len(imports):
        raise ValueError("it imports an operator domain twice")
    ir_version = _number(model, 1)
    used = frozenset(references.domains - {_domain(_text(function, 10)) for function in functions})
    inputs, outputs = _signature(graphs[0])
    return OnnxFile(ir_version, dict(imports), tuple(inputs), tuple(outputs), tuple(sorted(references.external)), used)


def _domain(name: str) -> str:
    """Return the canonical name of a domain: `ai.onnx` is an alias of the empty name."""
    return "" if name == "ai.onnx" else name


def _signature(graph: memoryview) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Return the inputs of a GraphProto, without those that are initializers, and its outputs."""
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
    return _domain(_text(entry, 1)), _number(entry, 2)


def _walk_graph(graph: memoryview, references: _References, depth: int) -> None:
    """Collect the external data locations and the operator domains of a GraphProto and of its subgraphs."""
    if depth > MAX_GRAPH_DEPTH:
        raise ValueError(f"subgraphs are nested deeper than {MAX_GRAPH_DEPTH}")
    for number, value in _messages(graph):
        if number == 1:
            _walk_node(value, references, depth)
        elif number == 5:
            _walk_tensor(value, references)
        elif number == 15:
            _walk_sparse(value, references)


def _walk_function(function: memoryview, references: _References) -> None:
    for number, value in _messages(function):
        if number == 7:
            _walk_node(value, references, 0)
        elif number == 11:
            _walk_attribute(value, references, 0)


def _walk_node(node: memoryview, references: _References, depth: int) -> None:
    for number, value in _messages(node):
        if number == 5:
            _walk_attribute(value, references, depth)
    references.domains.add(_domain(_text(node, 7)))


def _walk_attribute(attribute: memoryview, references: _References, depth: int) -> None:
    for number, value in _messages(attribute):
        if number in (5, 10):
            _walk_tensor(value, references)
        elif number in (6, 11):
            _walk_graph(value, references, depth + 1)
        elif number in (22, 23):
            _walk_sparse(value, references)


def _walk_sparse(sparse: memoryview, references: _References) -> None:
    for number, value in _messages(sparse):
        if number in (1, 2):
            _walk_tensor(value, references)


def _walk_tensor(tensor: memoryview, references: _References) -> None:
    locations, is_external = [], False
    for number, value in _fields(tensor):
        if number == 14 and value == _EXTERNAL:
            is_external = True
        elif number == 13 and isinstance(value, memoryview):
            key, text = _text(value, 1), _text(value, 2)
            locations += [text] if key == "location" else []
    if is_external and len(locations) != 1:
        raise ValueError(f"a tensor with external data has {len(locations)} locations, expected 1")
    references.external.update(locations)


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((number, value) for number, value in _fields(message) if isinstance(value, memoryview))


def _nested(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield all submessages of a protobuf message at a path of field numbers."""
    if not path:
        yield message
        return
    for number, value in _messages(message):
        if number == path[0]:
            yield from _nested(value, *path[1:])


def _number(message: memoryview, field: int) -> int:
    """Return the number in a field; of several, the last one counts, as in every parser of protobuf."""
    values = [value for number, value in _fields(message) if number == field and isinstance(value, int)]
    return values[-1] if values else 0


def _text(message: memoryview, field: int) -> str:
    values = [bytes(value).decode("utf-8") for number, value in _messages(message) if number == field]
    return values[-1] if values else ""


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield field numbers and values of a message: an int for a varint, a view for a length-delimited field."""
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
            raise ValueError(f"unsupported wire type {wire}")
        if position + length > end:
            raise ValueError("a field exceeds the end of its message")
        if wire == 2:
            yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        if shift == 63 and byte > 1:  # nine bytes have 63 of the 64 bits
            break
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a varint is longer than 64 bits")
