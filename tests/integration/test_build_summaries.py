"""The whole build of a small random BART: its artifact is valid, skipped if it is up to date, and has a report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_ml_bridge import BuildError, Model, OnnxMlBridge, SummarizeOptions, Summarizer, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.summarization import SUMMARIZATION, GenerationDefaults, SummarizationSpec
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.export.summarization.pipeline import export_model, load_model
from onnx_ml_bridge.parity.summarization.original import greedy_score, load_original, original_summaries
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from small_seq2seq import POSITIONS, make_bart

INPUTS = 15  # of the 60 parity inputs; enough to contain every kind of input


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_bart(tmp_path_factory.mktemp("source") / "model", eos_bias=2.0)


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("references") / "references.jsonl"
    file.write_text('{"text":"A ferry crossed the strait.","summary":"a ferry"}\n')
    return file


@pytest.fixture(scope="module")
def calibration(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("calibration") / "texts.txt"
    file.write_text("\n".join(read_calibration_texts(None)[::16]))
    return file


def config(source: Path, references: Path | None = None, **changes) -> ModelConfig:
    # With random weights, int8 and fp32 summaries are not similar, so the gate accepts any ROUGE-L. It still requires
    # that int8 summaries are reproducible.
    settings = {
        "name": "small-bart",
        "version": "1",
        "task": "summarization",
        "source": f"path:{source}",
        "gate": {"int8": {"rouge_l": 0.0}},
        "options": {"parity_inputs": INPUTS} | ({} if references is None else {"references": str(references)}),
    }
    return ModelConfig(**(settings | changes))


@pytest.fixture(scope="module")
def built(source, references, calibration, tmp_path_factory):
    return build(
        config(source, references, calibration=calibration), tmp_path_factory.mktemp("dist"), lambda stage: None
    )


def test_the_artifact_verifies_and_both_variants_are_there(built):
    report = verify(built.path)
    assert set(report.variants) == {"fp32", "int8"}
    fp32, int8 = report.variants["fp32"], report.variants["int8"]
    assert (fp32.cases, fp32.figures) == (INPUTS, {"differing": 0, "sealed_same": None})
    assert int8.figures["sealed_same"] == 1
    assert built.metrics["fp32"]["differing"] == 0 and built.metrics["int8"]["sealed_same"] == 1
    assert "rouge_l_drop" in built.metrics["int8"] and "rouge_l_drop" not in built.metrics["fp32"]
    assert {*built.metrics["fp32"], *built.metrics["int8"]} == {metric.name for metric in SUMMARIZATION.metrics}


def test_summaries_are_those_of_the_original(built, source):
    summarizer = Summarizer.open(Model(built.path, variant="fp32"))
    manifest = read_artifact(built.path).manifest
    spec = manifest.section(SummarizationSpec)
    inputs = [["Kofi signed the lease.", "Ada did not."], ["🙂"], ["word " * 200]]
    original = load_original(source, spec.join, manifest.section(TokenizerSpec).max_tokens)
    expected = original_summaries(original, inputs, [spec.defaults] * 3)
    found = summarizer.summarize(inputs)
    assert [(each.text, each.token_ids, each.truncated) for each in found] == [
        (each.expected.text, each.expected.token_ids, each.truncated) for each in expected
    ]
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-5)


@pytest.fixture(scope="module")
def without_length(tmp_path_factory) -> Path:
    """A checkpoint whose summaries never end, and that names no maximum length."""
    return make_bart(tmp_path_factory.mktemp("endless") / "model", settings={"max_length": None}, eos_bias=-30.0)


def test_a_checkpoint_without_a_maximum_length_has_that_of_generate(without_length, tmp_path):
    exported = export_model(load_model(without_length), without_length, tmp_path)
    original = load_original(without_length, " ", POSITIONS)
    ids = original.tokenizer("A ferry crossed the strait.", return_tensors="pt")["input_ids"]
    assert original.model.generate(input_ids=ids).shape[1] == exported.summarization.defaults.max_length == 21


def test_a_wrong_default_shows_as_a_difference(without_length):
    """An input with the settings of the manifest is summarized with the original's own."""
    wrong = GenerationDefaults(4, 4, 20, 1.0)
    original = load_original(without_length, " ", POSITIONS, defaults=wrong)
    found = original_summaries(original, [["A ferry"]] * 2, [wrong, replace(wrong, max_length=10)])
    assert [len(each.expected.token_ids) for each in found] == [21, 10]


def test_the_score_of_greedy_search_equals_the_originals(built, source):
    manifest = read_artifact(built.path).manifest
    spec = manifest.section(SummarizationSpec)
    defaults = replace(spec.defaults, num_beams=1)
    original = load_original(source, spec.join, manifest.section(TokenizerSpec).max_tokens)
    inputs = [["Kofi signed the lease."], ["A ferry crossed the strait.", "It was late."]]
    expected = original_summaries(original, inputs, [defaults] * 2)
    found = Summarizer.open(Model(built.path, variant="fp32")).summarize(inputs, SummarizeOptions(num_beams=1))
    assert [each.token_ids for each in found] == [each.expected.token_ids for each in expected]
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-5)


def test_an_artifact_is_up_to_date_if_its_references_are_moved(built, source, references, calibration, tmp_path):
    out = Path(built.path).parent
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(references.read_bytes())
    assert build(config(source, moved, calibration=calibration), out, lambda stage: None).status == "up to date"
    stages: list[str] = []
    moved.write_text('{"text":"other","summary":"other"}\n')
    with pytest.raises(RuntimeError):
        build(config(source, moved, calibration=calibration), out, lambda stage: stages.append(stage) or _stop(stage))
    assert stages == ["fetch", "export"]


def _stop(stage: str) -> None:
    if stage == "export":
        raise RuntimeError(stage)


def test_missing_references_are_refused_before_the_export(source, tmp_path):
    stages: list[str] = []
    with pytest.raises(BuildError, match="nowhere") as refused:
        build(config(source, tmp_path / "nowhere.jsonl"), tmp_path, stages.append)
    assert (refused.value.code, stages) == ("config", ["fetch"])


def test_an_artifact_with_only_int8_has_no_other_graph(source, calibration, tmp_path):
    found = build(config(source, variants=["int8"], calibration=calibration), tmp_path, lambda stage: None)
    files = read_artifact(found.path).manifest.files
    assert [name for name in files if name.startswith("onnx/")] == [
        "onnx/model_int8.onnx",
        "onnx/model_int8.onnx_data",
    ]
    assert OnnxMlBridge.open(found.path).summarize(["A ferry crossed the strait."])


def test_the_report_shows_summaries_and_the_example_of_the_card_runs(built, capsys):
    page = Path(built.report).read_text()
    assert "Summaries side by side" in page and "sequence_same" in page
    card = (Path(built.path) / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(example.replace("path/to/this/folder", built.path), {})
    assert capsys.readouterr().out.strip()


def test_the_evidence_is_complete(built):
    evidence = json.loads((Path(built.path) / "parity.json").read_text())
    assert evidence["texts"]["all"] == INPUTS and evidence["references"]["summaries"] == 1
    quantization = read_artifact(built.path).manifest.variants["int8"].quantization
    assert 0 <= quantization.error["sequence_same"] <= 1 and quantization.layers


def test_the_score_of_greedy_search_excludes_forced_tokens():
    class Config:
        forced_bos_token_id, forced_eos_token_id = 0, 2

    rows = [torch.tensor([[0.0, 0.0, 0.0, np.log(2.0)]])] * 4  # the softmax is 0.2, 0.2, 0.2, 0.4
    settings = GenerationDefaults(1, 0, 5, 2.0)
    assert greedy_score((2, 0, 3, 3, 2), rows, settings, Config) == pytest.approx(2 * np.log(0.4) / 4**2)
    longer = replace(settings, max_length=9)
    assert greedy_score((2, 0, 3, 3, 2), rows, longer, Config) == pytest.approx((2 * np.log(0.4) + np.log(0.2)) / 4**2)
    Config.forced_bos_token_id = None
    assert greedy_score((2, 3, 2), rows, longer, Config) == pytest.approx((np.log(0.4) + np.log(0.2)) / 2**2)
