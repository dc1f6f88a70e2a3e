"""Whole builds of small random mBART and Pegasus models: summaries of the original, the same in batches and in Rust.

ONNX_ML_BRIDGE_SEQUENCES is the number of sequences of each model that are compared with those of `generate`.
`make test` builds two models; with ONNX_ML_BRIDGE_ARCHITECTURES=all, as in `make architectures`, all of them.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from model_results import record
from onnx_ml_bridge import Model, Summarizer, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.summarization import GenerationDefaults, SummarizationSpec, SummaryCase
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.parity.summarization.inputs import summary_inputs
from onnx_ml_bridge.parity.summarization.original import load_original, original_summaries
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from onnx_ml_bridge.runtime.summarization.summarizer import summarize_with_settings
from rust_command import rust_verify
from small_seq2seq import POSITIONS, architecture_of, make_bart, make_summarizer
from small_summarizers import make_artifact

SEQUENCES = int(os.environ.get("ONNX_ML_BRIDGE_SEQUENCES", "12"))
INPUTS = 15  # of the 60 parity inputs; enough to contain every kind of input
MODELS = {
    "bart": {"seed": 1, "eos_bias": 4.5},
    "mbart": {"seed": 3, "eos_bias": 4.0},
    "mbart50": {"seed": 3, "eos_bias": 4.0},
    "pegasus": {"seed": 5, "eos_bias": 3.0},
}
# test_build_summaries.py builds a BART
FEW = ("mbart", "pegasus")
NAMES = sorted(MODELS) if os.environ.get("ONNX_ML_BRIDGE_ARCHITECTURES") == "all" else FEW

pytestmark = [pytest.mark.families("summarization"), pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class Made:
    """A small model, and its artifact with both variants."""

    name: str
    source: Path
    artifact: Path


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    make = make_bart if request.param == "bart" else partial(make_summarizer, name=request.param)
    source = make(folder / "model", **MODELS[request.param])
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


def random_calls() -> list[tuple[tuple[str, ...], GenerationDefaults]]:
    """Return lists of messages, each with settings of its own."""
    source = random.Random(20261127)
    prose = [text for text in parity_texts() if text.strip()]

    def settings() -> GenerationDefaults:
        longest = source.choice((2, 8, 24, 40, POSITIONS))
        return GenerationDefaults(
            num_beams=source.choice((1, 2, 4, 4, 6)),
            min_length=source.choice((0, 0, 0, 5, longest)) if longest > 5 else 0,
            max_length=longest,
            length_penalty=source.choice((-1.0, 0.5, 1.0, 2.0)),
        )

    return [(tuple(source.sample(prose, source.randint(1, 3))), settings()) for _ in range(SEQUENCES)]


def test_sequences_with_random_settings_are_those_of_generate_in_both_languages(rust, made, tmp_path):
    artifact = read_artifact(made.artifact)
    manifest = artifact.manifest
    spec, tokenizer = manifest.section(SummarizationSpec), manifest.section(TokenizerSpec)
    messages, settings = zip(*random_calls(), strict=True)
    original = load_original(made.source, spec.join, tokenizer.max_tokens)
    expected = original_summaries(original, messages, settings)
    cases = [
        SummaryCase(text, chosen, each.expected, each.truncated, {})
        for text, chosen, each in zip(messages, settings, expected, strict=True)
    ]

    def save(folder: Path) -> TokenizerSpec:
        shutil.copy(artifact.path(tokenizer.file), folder / tokenizer.file)
        return tokenizer

    # An artifact whose golden cases are these calls, so that `verify` compares them in both languages
    graph = onnx.load(artifact.path(manifest.variants["fp32"].graphs["generate"].file))
    replayed = make_artifact(tmp_path / "calls", graph, cases, {"differing": len(cases)}, spec, save)
    python, in_rust = verify(replayed).variants["fp32"], rust_verify(rust, replayed)["fp32"]
    assert python.cases == in_rust["cases"] == len(cases)
    differing = {"python": python.figures["differing"], "rust": in_rust["differing"]}
    figures = {f"{language} differing": count for language, count in differing.items()}
    record("summaries", made.name, {"model_type": architecture_of(made.name), "summaries": len(cases), **figures})
    assert differing == {"python": 0, "rust": 0}
    lengths = Counter(len(each.expected.token_ids) for each in expected)
    # Summaries of two tokens have no text in models that begin with a language
    texts = [each.expected.text for each, chosen in zip(expected, settings, strict=True) if chosen.max_length > 2]
    assert len(lengths) > 4 and len(set(texts)) > len(texts) / 2


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_summary_does_not_depend_on_its_batch(made, variant):
    summarizer = Summarizer.open(Model(made.artifact, variant=variant))
    manifest = read_artifact(made.artifact).manifest
    spec, tokenizer = manifest.section(SummarizationSpec), manifest.section(TokenizerSpec)
    inputs = summary_inputs(spec.defaults, tokenizer.max_tokens, spec.max_target_tokens, INPUTS)
    messages, settings = [each.messages for each in inputs], [each.settings for each in inputs]
    together = summarize_with_settings(summarizer, messages, settings)
    alone = [summarize_with_settings(summarizer, [each.messages], [each.settings])[0] for each in inputs]
    assert [each.token_ids for each in alone] == [each.token_ids for each in together]


def test_int8_has_int8_products_and_a_table_that_cannot_saturate(made):
    artifact = read_artifact(made.artifact)
    graph = ir.load(artifact.path(artifact.manifest.variants["int8"].graphs["generate"].file)).graph
    table = graph.initializers["shared_table_int8"].const_value.numpy()
    assert table.dtype == np.int8 and np.abs(table).max() == 63
    body = next(node for node in graph if node.op_type == "Loop").attributes["body"].as_graph()
    for nodes in (graph, body):
        assert [node for node in nodes if node.op_type == "MatMul" and node.inputs[1].is_initializer()] == []
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in body) >= 2 * 6
