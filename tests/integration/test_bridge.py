"""One `OnnxMlBridge` opens and runs models of several tasks."""

import pytest
from examples import VALID
from onnx_ml_bridge import InputError, OnnxMlBridge, TaskNotLoadedError

EMBEDDING, TOKEN_CLASSIFIER = VALID / "tiny-embedding", VALID / "tiny-ner"


def test_every_task_has_its_own_variant():
    bridge = OnnxMlBridge.open(ner=TOKEN_CLASSIFIER, embedding=EMBEDDING, variant={"ner": "int8", "embedding": "fp32"})
    assert (bridge.recognizer().variant, bridge.embedder.model.variant) == ("int8", "fp32")


def test_a_task_without_a_model_is_named():
    with pytest.raises(TaskNotLoadedError, match="ner=") as refused:
        OnnxMlBridge.open(embedding=EMBEDDING).extract_entities("x")
    assert refused.value.code == "task_not_loaded"


def test_the_health_check_of_a_model_with_given_sentence_starts(spacy_artifact):
    bridge = OnnxMlBridge.open(ner=spacy_artifact("en-core-web-sm-given"))
    assert bridge.health_check()
    with pytest.raises(InputError) as refused:
        bridge.extract_entities("Ann met Bo.")
    assert refused.value.code == "sentence_starts"
    assert bridge.ner(["Ann met Bo in Paris."], sentence_starts=[[0]])[0].entities
