"""Invalid input lines, and the error codes that all commands refuse them with."""

from __future__ import annotations

import pytest
from onnx_ml_bridge.artifacts.errors import InputError
from onnx_ml_bridge.cli.jsonl import LineFormat, parse_line

# Pairs of an invalid line and its error code, for a line format whose texts have at most ten bytes. None stands for a
# line that was too long to be read.
BAD_LINES = (
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
)


def code_of_line(raw: bytes | None, line_format: LineFormat) -> str:
    """Return the error code that a line is refused with."""
    with pytest.raises(InputError) as refused:
        parse_line(raw, line_format)
    return refused.value.code
