"""JSON lines: how they are read, what counts as input, and that none costs another its answer."""

import io
import json
import time

import pytest
from lines import BAD_LINES, code_of_line
from onnx_ml_bridge.artifacts.errors import ConfigError, InferenceError, InputError
from onnx_ml_bridge.cli.jsonl import (
    Line,
    LineError,
    LineFormat,
    answer_lines,
    arriving_lines,
    each_answered,
    failure_line,
    parse_line,
    parse_text,
)

TEXT = LineFormat(10, parse_text)


def test_lines_are_taken_as_they_arrive():
    class Slow(io.BytesIO):
        def readline(self, size=-1):
            if self.tell() == 4:
                time.sleep(0.3)
            return super().readline(size)

    runs = [[line.raw for line in run] for run in arriving_lines(Slow(b"a\nb\nc"), 10, max_bytes=99)]
    assert [raw for run in runs for raw in run] == [b"a", b"b", b"c"]
    assert runs[-1] == [b"c"]


@pytest.mark.parametrize("max_lines", [1, 2, 10])
def test_lines_too_long_for_any_text_are_not_kept(max_lines):
    stream = io.BytesIO(b"short\n" + b"x" * 10 + b"\n" + b"y" * 11 + b"\n" + b"z" * 5000 + b"\n\nlast")
    lines = [line for run in arriving_lines(stream, max_lines, max_bytes=10) for line in run]
    assert [line.raw for line in lines] == [b"short", b"x" * 10, None, None, b"", b"last"]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_line_is_a_string_or_an_object_with_a_text():
    assert parse_line(b'"a"', TEXT) == parse_line(b' {"text": "a"}\r', TEXT) == "a"
    assert parse_line('"é\\u0000"'.encode(), TEXT) == "é\0"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [*BAD_LINES, (b'{"messages":["a"]}', "bad_line"), (b'{"sentence_starts":[0,7],"text":"a"}', "bad_line")],
)
def test_anything_else_has_its_code(raw, expected):
    assert code_of_line(raw, TEXT) == expected


def test_one_input_that_fails_costs_the_others_nothing():
    calls = []

    def run(inputs):
        calls.append(list(inputs))
        for position, entry in enumerate(inputs):
            if entry == "bad":
                raise InputError("sentence_starts", "no token there", index=position)
            if entry == "worse":
                raise InferenceError("not finite")
        return [entry.upper() for entry in inputs]

    lines = [Line(7, b'"a"'), Line(8, b'"bad"'), Line(9, b"no json"), Line(10, b'"worse"'), Line(11, b'"b"')]
    found = answer_lines(lambda inputs: each_answered(run, inputs), lines, TEXT)
    assert (found[0], found[4]) == (("a", "A"), ("b", "B"))
    assert [(each.code, each.line) for each in found[1:4]] == [
        ("sentence_starts", 8),
        ("bad_line", 9),
        ("inference", 10),
    ]
    assert found[1].message == "no token there"  # its place among the lines that ran together says nothing
    assert calls == [["a", "bad", "worse", "b"], ["a"], ["bad"], ["worse"], ["b"]]


def test_nothing_is_run_without_inputs_and_other_errors_end_the_command():
    def run(inputs):
        raise ConfigError("stride", expected="none", got=len(inputs))

    assert each_answered(run, []) == []
    with pytest.raises(ConfigError):
        each_answered(run, ["a"])


def test_a_failure_is_one_line_of_json_whatever_its_message_holds():
    line = failure_line(LineError.of(InputError("input_type", "odd \ud800 \n \x1b"), 3))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"error": {"code": "input_type", "line": 3, "message": "odd \\ud800 \n \x1b"}}
