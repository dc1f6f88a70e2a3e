"""The options of models.toml that a token classifier accepts."""

import logging

import pytest
from examples import VALID
from onnx_ml_bridge import InputError, OnnxMlBridge, RecognizeOptions


@pytest.fixture(scope="module")
def bridge() -> OnnxMlBridge:
    return OnnxMlBridge.open(VALID / "tiny-ner")


def test_sentence_starts_are_refused(bridge):
    with pytest.raises(InputError) as refused:
        bridge.recognizer().recognize(["x"], RecognizeOptions(sentence_starts=[[0]]))
    assert refused.value.code == "sentence_starts"
    assert bridge.recognizer().recognize(["the cat sleeps"], RecognizeOptions(aggregation_strategy="none"))[0].entities


def test_extract_entities_warns_about_a_truncated_text(bridge, caplog):
    with caplog.at_level(logging.WARNING):
        bridge.extract_entities_batch(["the cat " * 100, "a dog"])
    assert "1 of 2 texts were truncated" in caplog.text
