"""Whole builds of small random mBART and Pegasus models: summaries of the original, the same in batches and in Rust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ml_bridge import Model, Summarizer, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.summarization import SummarizationSpec
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.parity.summarization.inputs import summary_inputs
from onnx_ml_bridge.parity.summarization.original import load_original, original_summaries
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from onnx_ml_bridge.runtime.summarization.summarizer import summarize_with_settings
from rust_command import rust_verify
from small_seq2seq import make_summarizer

INPUTS = 15  # of the 60 parity inputs; enough to contain every kind of input
MODELS = {"mbart": {"seed": 3, "eos_bias": 4.0}, "pegasus": {"seed": 5, "eos_bias": 3.0}}

pytestmark = [pytest.mark.families("summarization"), pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class Made:
    """A small model, and its artifact with both variants."""

    name: str
    source: Path
    artifact: Path


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    source = make_summarizer(folder / "model", request.param, **MODELS[request.param])
    calibration = folder / "calibration.txt"
    calibration.write_text("\n".join(read_calibration_texts(None)[::16]))
    config = ModelConfig(
        name=request.param,
        version="1",
        task="summarization",
        source=f"path:{source}",
        calibration=calibration,
        gate={"int8": {"rouge_l": 0.0}},  # with random weights, int8 and fp32 summaries are not similar
        options={"parity_inputs": INPUTS},
    )
    return Made(request.param, source, Path(build(config, folder / "dist", lambda stage: None).path))


def test_python_and_rust_return_the_summaries_of_the_original(rust, made):
    report = verify(made.artifact).variants
    assert (report["fp32"].cases, report["fp32"].figures) == (INPUTS, {"differing": 0, "sealed_same": None})
    assert report["int8"].figures["sealed_same"] == 1
    figures = rust_verify(rust, made.artifact)
    assert (figures["fp32"]["cases"], figures["fp32"]["differing"]) == (INPUTS, 0)
    assert figures["int8"]["sealed_same"] == 1


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_summary_does_not_depend_on_its_batch(made, variant):
    summarizer = Summarizer.open(Model(made.artifact, variant=variant))
    manifest = read_artifact(made.artifact).manifest
    spec, tokenizer = manifest.section(SummarizationSpec), manifest.section(TokenizerSpec)
    inputs = summary_inputs(spec.defaults, tokenizer.max_tokens, spec.max_target_tokens)
    messages, settings = [each.messages for each in inputs], [each.settings for each in inputs]
    together = summarize_with_settings(summarizer, messages, settings)
    alone = [summarize_with_settings(summarizer, [each.messages], [each.settings])[0] for each in inputs]
    assert [each.token_ids for each in alone] == [each.token_ids for each in together]
    if variant == "fp32":
        original = load_original(made.source, spec.join, tokenizer.max_tokens)
        expected = original_summaries(original, messages, settings)
        assert [each.expected.token_ids for each in expected] == [each.token_ids for each in together]
        assert [each.expected.text for each in expected] == [each.text for each in together]
        assert [each.score for each in together] == pytest.approx([each.score for each in expected], rel=1e-6, abs=1e-5)


def test_int8_has_int8_products_and_a_table_that_cannot_saturate(made):
    artifact = read_artifact(made.artifact)
    graph = ir.load(artifact.path(artifact.manifest.variants["int8"].graphs["generate"].file)).graph
    table = graph.initializers["shared_table_int8"].const_value.numpy()
    assert table.dtype == np.int8 and np.abs(table).max() == 63
    body = next(node for node in graph if node.op_type == "Loop").attributes["body"].as_graph()
    for nodes in (graph, body):
        assert [node for node in nodes if node.op_type == "MatMul" and node.inputs[1].is_initializer()] == []
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in body) >= 2 * 6
