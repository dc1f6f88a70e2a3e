"""The calls of `OnnxMlBridge` with a summarization artifact."""

import logging

import pytest
from onnx_ml_bridge import (
    ArtifactError,
    Embedder,
    InferenceError,
    Model,
    OnnxMlBridge,
    SummarizeOptions,
    TaskNotLoadedError,
)
from small_summarizers import make_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("summaries") / "small")


@pytest.fixture
def bridge(artifact):
    return OnnxMlBridge.open(artifact)


def test_the_bridge_summarizes(bridge, caplog):
    bridge.warm_up()
    assert bridge.summarize(["the cat", "sleeps"]) == "the cat sleeps"
    assert bridge.summarize_batch([["a"], ["b", "c"]]) == ["a", "b c"]
    (summary,) = bridge.summarizer().summarize([["the cat"]], SummarizeOptions(num_beams=1, max_length=5))
    assert (summary.text, summary.tokens) == ("the", 4)
    info = bridge.summarizer().info
    assert (info.name, info.variant) == ("small", "fp32")
    assert caplog.text == ""


def test_summarize_warns_about_a_truncated_input(bridge, caplog):
    with caplog.at_level(logging.WARNING):
        bridge.summarize(["x" * 100])
    assert "1 of 1 inputs were truncated to 34 tokens" in caplog.text


def test_the_health_check_fails_if_the_model_fails(bridge, artifact, monkeypatch):
    bridge.self_test()
    assert bridge.health_check()
    broken = OnnxMlBridge.open(artifact)
    backend = broken.summarizer().backend
    monkeypatch.setattr(backend._session, "run", lambda *_: pytest.fail("not reached") or [])
    monkeypatch.setattr(backend.model.tokenizer, "pad", lambda _: _raise())
    with pytest.raises(InferenceError, match="broken"):
        broken.self_test()
    assert not broken.health_check() and broken.status()[0].error == "inference"


def _raise():
    raise InferenceError("broken")


def test_a_call_without_a_model_names_the_task():
    with pytest.raises(TaskNotLoadedError, match="task summarization"):
        OnnxMlBridge([]).summarize(["a"])


def test_a_variant_can_be_selected(artifact):
    with pytest.raises(ArtifactError) as refused:
        OnnxMlBridge.open(Model(artifact, variant="int8"))
    assert refused.value.code == "variant"
    assert OnnxMlBridge.open(Model(artifact, variant="fp32")).summarizer().info.variant == "fp32"


def test_another_task_is_refused(artifact):
    with pytest.raises(ArtifactError, match="another task"):
        Embedder.open(artifact)
