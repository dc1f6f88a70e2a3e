"""The options of calls of GLiNER models, and what other models say to them."""

import math
from dataclasses import replace

import pytest
from examples import VALID
from onnx_ml_bridge import ConfigError, InputError, OnnxMlBridge, RecognizeOptions, Recognizer

pytestmark = pytest.mark.families("gliner")
TEXTS = ["the cat sleeps in a big house", "", "the dog runs and runs. " * 30]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.open(VALID / "tiny-gliner")


def entities(recognizer, **options):
    found = recognizer.recognize(TEXTS, RecognizeOptions(**options))
    return [[(each.start, each.end, each.label, each.score) for each in one] for one in found]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"labels": []}, "labels"),
        ({"labels": "person"}, "labels"),
        ({"labels": {"person"}}, "labels"),
        ({"labels": ["person", 1]}, "labels"),
        ({"labels": ["\ud800"]}, "labels"),
        ({"labels": [f"label {number}" for number in range(1000)]}, "labels"),
        ({"labels": ["long " * 2000]}, "labels"),
        ({"labels": ["a", "a <<ENT>> b"]}, "labels"),
        ({"threshold": -0.01}, "threshold"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"threshold": "0.5"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"nested": 1}, "nested"),
        ({"multi_label": "no"}, "multi_label"),
        ({"stride": -1}, "stride"),
        ({"stride": 24}, "stride"),
        ({"aggregation_strategy": "max"}, "aggregation_strategy"),
    ],
)
def test_an_invalid_option_is_refused(recognizer, options, option):
    with pytest.raises(ConfigError, match=f"option {option}") as refused:
        recognizer.recognize(TEXTS, RecognizeOptions(**options))
    assert refused.value.code == "config"


def test_sentence_starts_are_refused(recognizer):
    with pytest.raises(InputError) as refused:
        recognizer.recognize(["a"], RecognizeOptions(sentence_starts=[[0]]))
    assert refused.value.code == "sentence_starts"


def test_repeated_labels_count_once(recognizer):
    once = entities(recognizer, labels=["cat", "big house"])
    assert once == entities(recognizer, labels=("cat", "big house", "cat"))
    assert any(once)


def test_labels_without_tokens_are_answered_as_by_the_library(recognizer):
    assert any(entities(recognizer, labels=["  ", "cat"], threshold=0.5))


def test_defaults_are_those_of_the_artifact(recognizer):
    assert entities(recognizer) == entities(recognizer, labels=["person", "big house"], threshold=0.9, nested=False)
    assert {each[2] for one in entities(recognizer) for each in one} <= {"person", "big house"}


def test_thresholds_are_exclusive_and_reach_from_0_to_1(recognizer):
    assert entities(recognizer, threshold=1) == [[], [], []]
    counts = [sum(map(len, entities(recognizer, threshold=each, nested=True, multi_label=True))) for each in (0, 0.5)]
    assert counts[0] > counts[1] > 0


def test_a_long_text_is_read_completely(recognizer):
    (found,) = recognizer.recognize(TEXTS[2:], RecognizeOptions(threshold=0.3))
    assert not found.truncated and found.tokens > 128
    assert max(each.end for each in found) > 0.9 * len(TEXTS[2])


def test_a_word_that_is_longer_than_a_window_is_truncated(recognizer):
    (found,) = recognizer.recognize(["-".join(["x"] * 200)])
    assert found.truncated


def test_the_bridge_uses_the_labels_of_the_artifact(recognizer):
    bridge = OnnxMlBridge.open(VALID / "tiny-gliner")
    bridge.self_test()
    expected = [(each.start, each.end, each.label) for each in recognizer.recognize(TEXTS)[0]]
    assert [(each.start, each.end, each.label) for each in bridge.extract_entities(TEXTS[0])] == expected


@pytest.mark.families("token_classification")
def test_models_with_fixed_labels_refuse_them():
    fixed = Recognizer.open(VALID / "tiny-ner")
    for options in ({"labels": ["a"]}, {"threshold": 0.5}, {"nested": False}, {"multi_label": True}):
        with pytest.raises(ConfigError, match="the labels of the model are fixed"):
            fixed.recognize(["a"], replace(RecognizeOptions(), **options))
