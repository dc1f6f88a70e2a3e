"""The input lines of `ner`: a text and, optionally, its sentence starts."""

import json

import pytest
from lines import BAD_LINES, code_of_line
from onnx_ml_bridge.cli.jsonl import LineFormat, parse_line
from onnx_ml_bridge.cli.ner import NerEntry, parse_entry

ENTITIES = LineFormat(10, parse_entry)


def test_a_line_is_a_string_or_an_object_with_a_text():
    assert parse_line(b'"a"', ENTITIES) == parse_line(b' {"text": "a"}\r', ENTITIES) == NerEntry("a")
    assert parse_line('"é\\u0000"'.encode(), ENTITIES) == NerEntry("é\0")


@pytest.mark.parametrize(("raw", "expected"), [*BAD_LINES, (b'{"messages":["a"]}', "bad_line")])
def test_other_lines_are_refused_with_a_code(raw, expected):
    assert code_of_line(raw, ENTITIES) == expected


def test_sentence_starts_must_be_integers():
    line = b'{"sentence_starts":[0,7],"text":"a"}'
    assert parse_line(line, ENTITIES) == NerEntry("a", (0, 7))
    assert parse_line(b'{"text":"a","sentence_starts":[]}', ENTITIES) == NerEntry("a", ())
    for wrong in (None, 0, [1.0], [-1], ["0"], [True], {}, [[0]]):
        raw = json.dumps({"text": "a", "sentence_starts": wrong}).encode()
        assert code_of_line(raw, ENTITIES) == "sentence_starts", wrong
    assert code_of_line(b'{"sentence_starts":[0]}', ENTITIES) == "input_type"
