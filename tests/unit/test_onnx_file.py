"""The reader of ONNX files: protobuf as both readers understand it."""

from __future__ import annotations

import pytest
from mutations.binary import varint
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.onnx_file import MAX_GRAPH_DEPTH, TensorInfo, read_onnx

# Nine bytes of a varint have 63 of its 64 bits
LARGEST, TOO_LARGE = b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x02"


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(b"".join(content))) + b"".join(content)


def model(*graph: bytes) -> bytes:
    return number(1, 10) + message(8, number(2, 20)) + message(7, *graph)


@pytest.fixture
def read(tmp_path):
    def read_bytes(raw: bytes):
        path = tmp_path / "model.onnx"
        path.write_bytes(raw)
        return read_onnx(path)

    return read_bytes


def external(location: bytes = b"data", kind: int = 1) -> bytes:
    entry = message(13, message(1, b"location"), message(2, location))
    return entry + number(14, kind)


def test_of_several_values_of_a_field_the_last_one_counts(read):
    file = read(number(1, 7) + model() + number(1, 8))
    assert file.ir_version == 8
    assert read(model() + message(8, message(1, b"own"), number(2, 3), number(2, 4))).domains == {"": 20, "own": 4}
    assert read(model(message(1, message(7, b"a"), message(7, b"b")))).used_domains == {"b"}


def test_a_number_has_up_to_64_bits(read):
    assert read(model() + b"\x10" + LARGEST).ir_version == 10
    with pytest.raises(ArtifactError, match="64 bits"):
        read(model() + b"\x10" + TOO_LARGE)


def test_the_interface_is_read(read):
    shape = message(2, message(1, message(2, b"batch")), message(1, number(1, 4)))
    kind = message(2, message(1, number(1, 7), shape))
    file = read(
        model(
            message(5, message(8, b"w")),
            message(11, message(1, b"x"), kind),
            message(11, message(1, b"w")),
            message(12, message(1, b"y"), message(2, message(1, number(1, 99)))),
        )
    )
    assert (file.inputs, file.outputs) == ((TensorInfo("x", "int64", 2),), (TensorInfo("y", "type 99", -1),))


@pytest.mark.parametrize(
    "graph",
    [
        message(5, external()),
        message(15, message(1, external())),
        message(15, message(2, external())),
        message(1, message(5, message(5, external()))),
        message(1, message(5, message(10, external()))),
        message(1, message(5, message(6, message(5, external())))),
        message(1, message(5, message(11, message(5, external())))),
        message(1, message(5, message(22, message(1, external())))),
        message(5, external(kind=0)),
    ],
)
def test_external_data_is_found_in_every_tensor(read, graph):
    assert read(model(graph)).external == ("data",)


def test_external_data_of_functions_and_training_is_found(read):
    node = message(7, message(5, message(5, external())))
    assert read(model() + message(25, message(10, b"own"), node)).external == ("data",)
    assert read(model() + message(25, message(11, message(5, external())))).external == ("data",)
    assert read(model() + message(20, message(2, message(5, external())))).external == ("data",)


def test_domains_of_the_files_own_functions_are_left_out(read):
    function = message(25, message(10, b"own"), message(7, message(7, b"com.other")))
    assert read(model(message(1, message(7, b"own"))) + function).used_domains == {"com.other"}


def nested_graphs(count: int) -> bytes:
    graph = b""
    for _ in range(count):
        graph = message(1, message(5, message(6, graph)))
    return graph


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not a model",
        model()[:-1],
        model() + message(7),
        model() + message(8, number(2, 21)),
        model() + message(8, message(1, b"ai.onnx")),
        model() + b"\x00\x01",
        model() + b"\x0b",
        model() + b"\x0a\xff",
        model() + b"\x09\x00",
        model(message(1, message(7, b"\xff"))),
        model(message(5, number(14, 1))),
        model(message(5, external(), external())),
        model(message(5, message(13, message(2, b"\xff")))),
        model(nested_graphs(MAX_GRAPH_DEPTH + 1)),
    ],
)
def test_invalid_files_are_refused(read, raw):
    with pytest.raises(ArtifactError) as refused:
        read(raw)
    assert refused.value.code == "graph"


def test_fields_of_fixed_width_are_skipped(read):
    assert read(b"\x09" + bytes(8) + b"\x0d" + bytes(4) + model()).ir_version == 10
