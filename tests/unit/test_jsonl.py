"""JSON lines: how they are read and parsed, and that an invalid line does not affect the others."""

import io
import json
import threading

import pytest
from lines import BAD_LINES, code_of_line
from onnx_ml_bridge import EmbedOptions, ModelInfo, Task
from onnx_ml_bridge.artifacts.errors import ConfigError, InferenceError, InputError
from onnx_ml_bridge.cli.jsonl import (
    LineError,
    LineFormat,
    answer_lines,
    failure_line,
    parse_line,
    parse_text,
)
from onnx_ml_bridge.cli.line_reader import Line, arriving_lines
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.handles.handle import each_result
from onnx_ml_bridge.runtime.handles.slot import Slot

TEXT = LineFormat(10, parse_text)


class FakeModel:
    """A model without graphs."""

    info = ModelInfo("fake", Task.EMBEDDING, "none", "1.0.0", "fp32", None, "/fake")

    def load(self):
        pass

    def unload(self):
        pass


def test_lines_are_returned_as_they_arrive():
    stream, has_b = io.BytesIO(b"a\nb\nc"), threading.Event()

    def read(size):
        if stream.tell() == 4:
            has_b.wait(30)  # if `b` waits for `c`, the last batch has both
        return stream.read(2)

    runs = []
    for run in arriving_lines(read, 10, max_bytes=99):
        runs.append([line.raw for line in run])
        if b"b" in runs[-1]:
            has_b.set()
    assert [raw for run in runs for raw in run] == [b"a", b"b", b"c"]
    assert runs[-1] == [b"c"]


def test_the_lines_of_one_read_are_one_batch():
    for _ in range(20):
        reads = iter([b"a\n" * 10_000, b""])
        runs = list(arriving_lines(lambda _, reads=reads: next(reads), 20_000, max_bytes=99))
        assert [len(run) for run in runs] == [10_000]


def test_batches_do_not_exceed_the_maximum_number_of_lines():
    reads = iter([b"a\nb\nc\nd\ne\n", b"f\ng\n", b"h\n", b""])
    runs = list(arriving_lines(lambda _: next(reads), 3, max_bytes=99))
    assert [line.number for run in runs for line in run] == list(range(1, 9))
    assert runs[0] == [Line(1, b"a"), Line(2, b"b"), Line(3, b"c")] and max(map(len, runs)) <= 3


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("max_lines", [1, 2, 10])
def test_lines_above_the_limit_are_dropped(max_lines, chunk):
    stream = io.BytesIO(b"short\n" + b"x" * 10 + b"\n" + b"y" * 11 + b"\n" + b"z" * 5000 + b"\n\nlast")
    lines = [line for run in arriving_lines(lambda _: stream.read(chunk), max_lines, max_bytes=10) for line in run]
    assert [line.raw for line in lines] == [b"short", b"x" * 10, None, None, b"", b"last"]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_line_is_a_string_or_an_object_with_a_text():
    assert parse_line(b'"a"', TEXT) == parse_line(b' {"text": "a"}\r', TEXT) == "a"
    assert parse_line('"é\\u0000"'.encode(), TEXT) == "é\0"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [*BAD_LINES, (b'{"messages":["a"]}', "bad_line"), (b'{"sentence_starts":[0,7],"text":"a"}', "bad_line")],
)
def test_other_lines_are_refused_with_a_code(raw, expected):
    assert code_of_line(raw, TEXT) == expected


def test_an_input_that_fails_does_not_affect_the_others():
    calls = []

    class Fake(FakeModel):
        """Returns texts in upper case; fails after the results of all texts before an invalid one."""

        def check(self, options):
            pass

        def prepare(self, value, index, options):
            return value

        def results(self, inputs, options, watch):
            calls.append(list(inputs))
            for position, entry in enumerate(inputs):
                if entry == "bad":
                    raise InputError("sentence_starts", "no token there", index=position)
                if entry == "worse":
                    raise InferenceError("not finite")
                yield position, entry.upper()

    lines = [Line(7, b'"a"'), Line(8, b'"bad"'), Line(9, b"no json"), Line(10, b'"worse"'), Line(11, b'"b"')]
    found = answer_lines(
        lambda inputs: each_result(Slot(Fake(), None), inputs, EmbedOptions(), Watch(), len), lines, TEXT
    )
    assert (found[0], found[4]) == (("a", "A"), ("b", "B"))
    assert [(each.code, each.line) for each in found[1:4]] == [
        ("sentence_starts", 8),
        ("bad_line", 9),
        ("inference", 10),
    ]
    # The message does not have the index of the text, because the index counts the inputs of one run, not the lines
    assert found[1].message == "no token there"
    assert calls == [["a", "bad", "worse", "b"], ["bad"], ["worse"], ["b"]]


def test_no_inputs_need_no_run_and_errors_of_options_are_raised():
    class Fake(FakeModel):
        def check(self, options):
            if options.prompt_name is not None:
                raise ConfigError("prompt_name", expected="none", actual=options.prompt_name)

        def results(self, inputs, options, watch):
            assert not inputs
            return iter(())

    assert each_result(Slot(Fake(), None), [], EmbedOptions(), Watch()) == []
    for texts in ([], ["a"]):
        with pytest.raises(ConfigError):
            each_result(Slot(Fake(), None), texts, EmbedOptions(prompt_name="query"), Watch())


def test_a_failure_is_one_line_of_json_with_any_message():
    line = failure_line(LineError.of(InputError("input_type", "odd \ud800 \n \x1b"), 3))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"error": {"code": "input_type", "line": 3, "message": "odd \\ud800 \n \x1b"}}
