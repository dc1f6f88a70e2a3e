"""How many texts are tokenized together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import StoppedError
from onnx_ml_bridge.runtime import tokenizer
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.tokenizer import steps


@given(st.lists(st.integers(0, 600_000).map(lambda length: range(length)), max_size=20))
def test_steps_are_within_the_limits_and_in_order(texts):
    found = list(steps(texts))
    assert [text for step in found for text in step] == texts
    for step, following in zip(found, [*found[1:], None], strict=False):
        size = sum(map(len, step))
        assert len(step) == 1 or size <= tokenizer._STEP_CHARACTERS
        assert following is None or size + len(following[0]) > tokenizer._STEP_CHARACTERS


def test_a_step_has_up_to_256_texts():
    assert [len(step) for step in steps(["a"] * 600)] == [256, 256, 88]
    assert list(steps([])) == []


def test_a_call_that_is_stopped_ends_before_the_next_step():
    with Watch() as watch:
        remaining = steps(["a"] * 600, watch)
        next(remaining)
        watch.stop("cancelled")
        with pytest.raises(StoppedError):
            next(remaining)
