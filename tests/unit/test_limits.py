"""The numbers that callers may choose have limits."""

import pytest
from onnx_ml_bridge import BridgeOptions, ConfigError, Model
from onnx_ml_bridge.runtime.options import MAX_THREADS, as_model, check_bridge_options


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("name", ["threads", "memory_mb", "max_waiting", "text_limit", "beam_limit"])
def test_numbers_of_a_bridge_are_positive(name, value):
    check_bridge_options(BridgeOptions(**{name: 1}))
    with pytest.raises(ConfigError, match=f"{name}, expected an integer, at least 1, got {value!r}"):
        check_bridge_options(BridgeOptions(**{name: value}))


@pytest.mark.parametrize("name", ["workers", "run_tokens", "max_tokens"])
def test_numbers_of_a_model_are_positive(name):
    as_model(Model("x", **{name: 1}))
    with pytest.raises(ConfigError, match=name):
        as_model(Model("x", **{name: 0}))


def test_threads_have_an_upper_limit():
    check_bridge_options(BridgeOptions(threads=MAX_THREADS, max_waiting=MAX_THREADS + 1))
    as_model(Model("x", workers=MAX_THREADS, run_tokens=MAX_THREADS + 1))
    for check in (
        lambda: check_bridge_options(BridgeOptions(threads=MAX_THREADS + 1)),
        lambda: as_model(Model("x", workers=MAX_THREADS + 1)),
    ):
        with pytest.raises(ConfigError, match="expected an integer, at most 1024, got 1025"):
            check()
