"""Summarization artifacts: the bridge's calls, and golden cases replayed."""

import logging
from dataclasses import replace

import pytest
from onnx_ml_bridge import ArtifactError, OnnxMlBridge, SummarizeOptions, TaskNotLoadedError, verify
from onnx_ml_bridge.artifacts.families.summarization import ExpectedSummary
from onnx_ml_bridge.runtime.verify import VariantReplay
from small_summarizers import CASES, copying_graph, golden_cases, make_artifact, make_model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("summaries") / "small")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return golden_cases(make_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def bridge(artifact):
    return OnnxMlBridge.open(summarization=artifact)


def test_the_bridge_summarizes(bridge, caplog):
    bridge.warm_up()
    assert bridge.summarize(["the cat", "sleeps"]) == "the cat sleeps"
    assert bridge.summarize_batch([["a"], ["b", "c"]]) == ["a", "b c"]
    (summary,) = bridge.summarize_detailed([["the cat"]], SummarizeOptions(num_beams=1, max_length=5))
    assert (summary.text, summary.tokens) == ("the", 4)
    assert (bridge.get_summarization_model_name(), bridge.get_summarization_variant()) == ("small", "fp32")
    assert caplog.text == ""


def test_a_shortcut_that_cuts_an_input_says_so(bridge, caplog):
    with caplog.at_level(logging.WARNING):
        bridge.summarize(["x" * 100])
    assert "1 of 1 inputs were cut to 34 tokens" in caplog.text


def test_health(bridge, artifact, monkeypatch):
    assert bridge.health_check()
    broken = OnnxMlBridge.open(summarization=artifact)
    monkeypatch.setattr(broken.summarizer._session, "run", lambda *_: pytest.fail("not reached") or [])
    monkeypatch.setattr(broken.summarizer.model.tokenizer, "pad", lambda _: _raise())
    assert not broken.health_check()


def _raise():
    from onnx_ml_bridge import InferenceError

    raise InferenceError("broken")


def test_a_bridge_without_a_summarizer_names_what_is_missing():
    with pytest.raises(TaskNotLoadedError, match="summarization=DIR"):
        OnnxMlBridge.open().summarize(["a"])


def test_the_variant_can_be_chosen_for_summaries_alone(artifact):
    with pytest.raises(ArtifactError) as refused:
        OnnxMlBridge.open(summarization=artifact, variant={"summarization": "int8"})
    assert refused.value.code == "variant"
    assert OnnxMlBridge.open(summarization=artifact, variant={"ner": "int8"}).get_summarization_variant() == "fp32"


def test_another_task_is_refused(artifact):
    with pytest.raises(ArtifactError, match="another task"):
        OnnxMlBridge.open(embedding=artifact)


def test_verify_replays_summaries(artifact):
    assert verify(artifact).variants == {"fp32": VariantReplay(len(CASES), {"differing": 0, "sealed_same": None})}


def test_verify_counts_what_is_sealed(cases, tmp_path):
    other = ExpectedSummary("other", (2, 0, 5, 2))
    sealed = [replace(case, sealed={"fp32": case.expected if index else other}) for index, case in enumerate(cases)]
    report = verify(make_artifact(tmp_path / "sealed", cases=sealed))
    assert report.variants == {"fp32": VariantReplay(3, {"differing": 0, "sealed_same": pytest.approx(2 / 3)})}
    strict = make_artifact(tmp_path / "strict", cases=sealed, gate={"differing": 0.0, "sealed_same": 0.9})
    with pytest.raises(ArtifactError, match=r"sealed_same is 0.66\d+, expected >= 0.9"):
        verify(strict)


def test_a_gate_on_summaries_that_nobody_sealed_is_not_held(tmp_path):
    with pytest.raises(ArtifactError, match="sealed_same is nan"):
        verify(make_artifact(tmp_path / "small", gate={"sealed_same": 0.5}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda case: replace(case, expected=replace(case.expected, text="other")), "differing is 1"),
        (lambda case: replace(case, expected=replace(case.expected, token_ids=(2, 0, 2))), "differing is 1"),
        (lambda case: replace(case, truncated=not case.truncated), "truncated of case 1"),
        (lambda case: replace(case, settings=replace(case.settings, max_length=65)), "max_length"),
        (lambda case: replace(case, input=(" ",)), "nothing to summarize"),
    ],
)
def test_verify_refuses_a_case_that_is_not_so(change, said, cases, tmp_path):
    folder = make_artifact(tmp_path / "small", cases=[change(cases[0]), *cases[1:]])
    with pytest.raises(ArtifactError, match=said) as refused:
        verify(folder)
    assert refused.value.code == "golden"


def test_verify_refuses_a_graph_that_begins_otherwise(tmp_path):
    with pytest.raises(ArtifactError, match="begin with 2") as refused:
        verify(make_artifact(tmp_path / "small", copying_graph(start=0)))
    assert refused.value.code == "graph"
