"""docs/build.md has all keys and options of models.toml, and the default thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import Family
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.cli.options import known_options

pytestmark = pytest.mark.families(
    "sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank", "gliner"
)
PAGE = (Path(__file__).parents[2] / "docs" / "build.md").read_text(encoding="utf-8")
MODELS = {
    ("sentence-embedding", "transformers"): "sentence embeddings",
    ("ner", "transformers"): "token classifiers",
    ("ner", "spacy"): "spaCy",
    ("summarization", "transformers"): "summaries",
    ("rerank", "transformers"): "rerankers",
    ("ner", "gliner"): "GLiNER",
}


def first_cells() -> set[str]:
    """Every name in the first column of a table."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    return {name.strip().strip("`") for row in rows for name in row.split(",")}


def row_of(family: Family) -> str:
    """The row of a family in the table of thresholds."""
    metrics = {metric.name: metric for metric in family.metrics}

    def cell(variant: str) -> str:
        limits = family.all_gates.get(variant, {})
        return ", ".join(f"`{name}` {'≤' if metrics[name].is_upper_bound else '≥'} {limits[name]:g}" for name in limits)

    return f"| {MODELS[family.task, family.engine]} | {cell('fp32')} | {cell('int8')} | {cell('fp16')} |"


def test_the_page_has_every_key_and_option_and_no_other():
    assert first_cells() == set(ModelConfig.model_fields) | set(known_options(FAMILIES))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.task}-{family.engine}")
def test_the_page_has_the_default_thresholds(family):
    assert row_of(family) in PAGE.splitlines()
