"""One `OnnxMlBridge` opens and runs models of several tasks."""

import pytest
from examples import VALID
from onnx_ml_bridge import InputError, Model, OnnxMlBridge, RecognizeOptions, TaskNotLoadedError

EMBEDDING, TOKEN_CLASSIFIER = VALID / "tiny-embedding", VALID / "tiny-ner"


def test_every_model_has_its_own_variant():
    bridge = OnnxMlBridge.open(Model(TOKEN_CLASSIFIER, variant="int8"), Model(EMBEDDING, variant="fp32"))
    assert [info.variant for info in bridge.models()] == ["int8", "fp32"]
    assert (bridge.recognizer().info.variant, bridge.embedder().info.variant) == ("int8", "fp32")


def test_a_task_without_a_model_is_named():
    with pytest.raises(TaskNotLoadedError, match="the task ner") as refused:
        OnnxMlBridge.open(EMBEDDING).extract_entities("x")
    assert refused.value.code == "task_not_loaded"


def test_the_health_check_of_a_model_with_given_sentence_starts(spacy_artifact):
    bridge = OnnxMlBridge.open(spacy_artifact("en-core-web-sm-given"))
    assert bridge.health_check()
    with pytest.raises(InputError) as refused:
        bridge.extract_entities("Ann met Bo.")
    assert refused.value.code == "sentence_starts"
    assert bridge.recognizer().recognize(["Ann met Bo in Paris."], RecognizeOptions(sentence_starts=[[0]]))[0].entities
