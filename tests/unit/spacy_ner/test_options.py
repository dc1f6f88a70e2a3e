"""The options of models.toml that a spaCy model accepts."""

import logging

import pytest
from examples import VALID
from onnx_ml_bridge import ConfigError, InputError, OnnxMlBridge, RecognizeOptions


@pytest.fixture(scope="module")
def bridge() -> OnnxMlBridge:
    return OnnxMlBridge.open(VALID / "tiny-spacy")


@pytest.mark.parametrize("options", [{"aggregation_strategy": "max"}, {"stride": 0}])
def test_options_of_the_other_engine_are_refused(bridge, options):
    with pytest.raises(ConfigError, match=f"(?s){next(iter(options))}.*spaCy"):
        bridge.recognizer().recognize(["x"], RecognizeOptions(**options))


def test_sentence_starts_are_refused_by_a_model_with_a_parser(bridge):
    with pytest.raises(InputError) as refused:
        bridge.recognizer().recognize(["x"], RecognizeOptions(sentence_starts=[[0]]))
    assert refused.value.code == "sentence_starts"


def test_long_texts_are_not_truncated(bridge, caplog):
    with caplog.at_level(logging.WARNING):
        bridge.extract_entities("the cat " * 100)
    assert not caplog.text
