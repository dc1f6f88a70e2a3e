"""`verify` replays the golden cases of summaries."""

from dataclasses import replace

import pytest
from onnx_ml_bridge import ArtifactError, ConfigError, StoppedError, verify
from onnx_ml_bridge.artifacts.families.summarization import ExpectedSummary
from onnx_ml_bridge.runtime import supervised
from onnx_ml_bridge.runtime.verify import VariantReplay
from small_summarizers import CASES, copying_graph, endless_graph, golden_cases, make_artifact, make_model

PATIENCE = 60


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("summaries") / "small")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return golden_cases(make_model(tmp_path_factory.mktemp("model")))


def test_verify_replays_summaries(artifact):
    assert verify(artifact).variants == {"fp32": VariantReplay(len(CASES), {"differing": 0, "sealed_same": None})}


def test_verify_compares_with_sealed_summaries(cases, tmp_path):
    other = ExpectedSummary("other", (2, 0, 5, 2))
    sealed = [replace(case, sealed={"fp32": case.expected if index else other}) for index, case in enumerate(cases)]
    report = verify(make_artifact(tmp_path / "sealed", cases=sealed))
    assert report.variants == {"fp32": VariantReplay(3, {"differing": 0, "sealed_same": pytest.approx(2 / 3)})}
    strict = make_artifact(tmp_path / "strict", cases=sealed, gate={"differing": 0.0, "sealed_same": 0.9})
    with pytest.raises(ArtifactError, match=r"sealed_same is 0.66\d+, expected >= 0.9"):
        verify(strict)


def test_a_gate_on_sealed_summaries_fails_without_them(tmp_path):
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
def test_verify_refuses_a_wrong_case(change, said, cases, tmp_path):
    folder = make_artifact(tmp_path / "small", cases=[change(cases[0]), *cases[1:]])
    with pytest.raises(ArtifactError, match=said) as refused:
        verify(folder)
    assert refused.value.code == "golden"


def test_verify_refuses_a_graph_with_another_start_token(tmp_path):
    with pytest.raises(ArtifactError, match="begin with 2") as refused:
        verify(make_artifact(tmp_path / "small", copying_graph(start=0)))
    assert refused.value.code == "graph"


def test_verify_stops_a_graph_that_does_not_end(tmp_path, monkeypatch):
    endless = make_artifact(tmp_path / "small", endless_graph())
    with pytest.raises(StoppedError, match="exceeded its time limit") as stopped:
        verify(endless, timeout=3)
    assert stopped.value.code == "timeout"
    reports, next_line = [], supervised._next_line

    def patient(lines, what, silence, deadline):
        # The start of the child is before the first report; its time depends on what else the machine does
        return next_line(lines, what, silence if reports else PATIENCE, deadline)

    monkeypatch.setattr(supervised, "_next_line", patient)
    monkeypatch.setattr("onnx_ml_bridge.runtime.verify._SILENCE_SECONDS", 2)
    with pytest.raises(StoppedError, match="made no progress for 2 seconds") as stopped:
        verify(endless, progress=lambda *report: reports.append(report))
    assert (stopped.value.code, reports) == ("timeout", [("fp32", 0, 3)])


def test_verify_reports_its_progress(artifact):
    reports = []
    verify(artifact, timeout=100, progress=lambda *report: reports.append(report))
    assert reports == [("fp32", done, 3) for done in range(4)]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True])
def test_verify_refuses_an_invalid_timeout(artifact, timeout):
    with pytest.raises(ConfigError):
        verify(artifact, timeout=timeout)
