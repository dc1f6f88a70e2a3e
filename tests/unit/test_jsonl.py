"""JSON lines: how they are read, what counts as input, and that none costs another its answer."""

import io
import json
import time

import pytest
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
from onnx_ml_bridge.cli.ner import NerEntry, parse_entry
from onnx_ml_bridge.cli.summarization import parse_messages

TEXT, ENTITIES, MESSAGES = (LineFormat(10, parse) for parse in (parse_text, parse_entry, parse_messages))


def code(raw, line_format):
    with pytest.raises(InputError) as refused:
        parse_line(raw, line_format)
    return refused.value.code


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


@pytest.mark.parametrize(
    ("line_format", "entry"), [(TEXT, str), (ENTITIES, NerEntry), (MESSAGES, lambda text: (text,))]
)
def test_a_line_is_a_string_or_an_object_with_a_text(line_format, entry):
    assert parse_line(b'"a"', line_format) == parse_line(b' {"text": "a"}\r', line_format) == entry("a")
    assert parse_line('"é\\u0000"'.encode(), line_format) == entry("é\0")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "bad_line"),
        (b"{", "bad_line"),
        (b'"\xff"', "bad_line"),
        (b'"\\ud800"', "bad_line"),
        (b'{"text":"a","text":"a"}', "bad_line"),
        (b'{"text":"a","x":1}', "bad_line"),
        (b'{"x":1}', "bad_line"),
        (b"{}", "input_type"),
        (b'{"text":1}', "input_type"),
        (b'["a"]', "input_type"),
        (b"null", "input_type"),
        (b'"01234567890"', "input_too_large"),
        (None, "input_too_large"),
    ],
)
def test_anything_else_has_its_code(raw, expected):
    assert code(raw, TEXT) == code(raw, ENTITIES) == code(raw, MESSAGES) == expected


def test_messages_are_accepted_instead_of_a_text_by_one_format():
    assert parse_line(b'{"messages":["a","","b"]}', MESSAGES) == ("a", "", "b")
    assert parse_line(b'{"messages":[]}', MESSAGES) == ()
    for line_format in (TEXT, ENTITIES):
        assert code(b'{"messages":["a"]}', line_format) == "bad_line"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"messages":["a"],"text":"a"}', "bad_line"),
        (b'{"messages":["a"],"x":1}', "bad_line"),
        (b'{"messages":["a"],"sentence_starts":[0]}', "bad_line"),
        (b'{"messages":"a"}', "input_type"),
        (b'{"messages":null}', "input_type"),
        (b'{"messages":["a",1]}', "input_type"),
        (b'{"messages":[["a"]]}', "input_type"),
        (b'{"messages":{"a":1}}', "input_type"),
        (b'{"messages":["a","01234567890"]}', "input_too_large"),
        (b"{}", "input_type"),
    ],
)
def test_messages_of_another_form_have_their_code(raw, expected):
    assert code(raw, MESSAGES) == expected


def test_sentence_starts_are_whole_numbers_where_they_are_accepted():
    line = b'{"sentence_starts":[0,7],"text":"a"}'
    assert parse_line(line, ENTITIES) == NerEntry("a", (0, 7))
    assert parse_line(b'{"text":"a","sentence_starts":[]}', ENTITIES) == NerEntry("a", ())
    assert code(line, TEXT) == "bad_line"
    for wrong in (None, 0, [1.0], [-1], ["0"], [True], {}, [[0]]):
        raw = json.dumps({"text": "a", "sentence_starts": wrong}).encode()
        assert code(raw, ENTITIES) == "sentence_starts", wrong
    assert code(b'{"sentence_starts":[0]}', ENTITIES) == "input_type"


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
