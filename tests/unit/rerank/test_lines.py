"""The input lines of `rerank`: an object with a query and documents."""

import pytest
from lines import BAD_LINES, code_of_line
from onnx_ml_bridge.cli.jsonl import LineFormat, parse_line
from onnx_ml_bridge.cli.rerank import RerankEntry, parse_entry

ENTRY = LineFormat(10, parse_entry)


def test_a_line_is_an_object_with_a_query_and_documents():
    assert parse_line(b'{"query":"a","documents":["b","","c"]}', ENTRY) == RerankEntry("a", ("b", "", "c"))
    assert parse_line(b' {"documents": [], "query": ""}\r', ENTRY) == RerankEntry("", ())
    line = '{"query":"é\\u0000","documents":["0123456789"]}'.encode()
    assert parse_line(line, ENTRY) == RerankEntry("é\0", ("0123456789",))


@pytest.mark.parametrize(
    "raw",
    [
        *(raw for raw, _ in BAD_LINES if raw is not None),
        b'"a"',
        b'[["a"],["b"]]',
        b'{"query":"a"}',
        b'{"documents":["a"]}',
        b'{"query":"a","documents":["b"],"top_k":1}',
        b'{"query":"a","query":"a","documents":["b"]}',
        b'{"query":"\\ud800","documents":["b"]}',
        b'{"query":"a","documents":["b"]} 1',
    ],
)
def test_lines_of_another_form_are_refused(raw):
    assert code_of_line(raw, ENTRY) == "bad_line"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"query":1,"documents":["b"]}', "input_type"),
        (b'{"query":null,"documents":["b"]}', "input_type"),
        (b'{"query":["a"],"documents":["b"]}', "input_type"),
        (b'{"query":"a","documents":"b"}', "input_type"),
        (b'{"query":"a","documents":null}', "input_type"),
        (b'{"query":"a","documents":{"b":1}}', "input_type"),
        (b'{"query":"a","documents":["b",1]}', "input_type"),
        (b'{"query":"a","documents":[["b"]]}', "input_type"),
        (b'{"query":"01234567890","documents":["b"]}', "input_too_large"),
        (b'{"query":"a","documents":["b","01234567890"]}', "input_too_large"),
        (None, "input_too_large"),
    ],
)
def test_invalid_texts_are_refused_with_a_code(raw, expected):
    assert code_of_line(raw, ENTRY) == expected
