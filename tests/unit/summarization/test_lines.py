"""The input lines of `summarize`: a text or a list of messages."""

import pytest
from lines import BAD_LINES, code_of_line
from onnx_ml_bridge.cli.jsonl import LineFormat, parse_line
from onnx_ml_bridge.cli.summarization import parse_messages

MESSAGES = LineFormat(10, parse_messages)


def test_a_line_is_a_string_or_an_object_with_a_text_or_messages():
    assert parse_line(b'"a"', MESSAGES) == parse_line(b' {"text": "a"}\r', MESSAGES) == ("a",)
    assert parse_line('"é\\u0000"'.encode(), MESSAGES) == ("é\0",)
    assert parse_line(b'{"messages":["a","","b"]}', MESSAGES) == ("a", "", "b")
    assert parse_line(b'{"messages":[]}', MESSAGES) == ()


@pytest.mark.parametrize(("raw", "expected"), BAD_LINES)
def test_other_lines_are_refused_with_a_code(raw, expected):
    assert code_of_line(raw, MESSAGES) == expected


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
    ],
)
def test_invalid_messages_are_refused_with_a_code(raw, expected):
    assert code_of_line(raw, MESSAGES) == expected
