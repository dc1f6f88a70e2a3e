"""Shorter vectors equal those of sentence-transformers' `truncate_dim`, and builds measure and gate them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from onnx_ml_bridge import EmbedOptions, verify
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.export.sentence_embedding import with_dimensions
from onnx_ml_bridge.parity.sentence_embedding.original import (
    EmbeddingInput,
    load_original,
    original_embeddings,
    shortened_originals,
)
from refusing import refused
from small_exports import export_saved, varied_texts
from small_models import make_model
from sources import LOOSE, make_matryoshka_embedder

TOLERANCE = 2e-6
DIMENSIONS = (1, 8, 24)


@pytest.mark.parametrize(
    "options", [{}, {"normalize": False}, {"pooling": ("mean", "max")}], ids=["normalized", "not normalized", "pair"]
)
def test_shorter_vectors_are_those_of_truncate_dim(small, options):
    made = small("bert", **options)
    export = replace(made, export=replace(made.export, embedding=with_dimensions(made.export.embedding, DIMENSIONS)))
    original, embedder, texts = load_original(export.source), export.embedder(), varied_texts()
    normalized = export.export.embedding.normalized
    for dimensions in DIMENSIONS:
        expected = original.encode(texts, truncate_dim=dimensions, normalize_embeddings=normalized)
        actual = embedder.embed(texts, EmbedOptions(dimensions=dimensions)).vectors
        assert actual.shape == expected.shape == (len(texts), dimensions)
        assert np.abs(actual - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("options", [{}, {"normalize": False}], ids=["normalized", "not normalized"])
def test_a_pipeline_that_cuts_its_vectors(tmp_path, options):
    """sentence-transformers cuts vectors to the `truncate_dim` of a pipeline and does not normalize them again."""
    source = make_model(tmp_path, "bert", **options)
    path = source / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncate_dim": 12}))
    made = export_saved(source, tmp_path / "staging")
    assert (made.export.embedding.dim, made.export.embedding.normalized) == (12, False)
    export = replace(made, export=replace(made.export, embedding=with_dimensions(made.export.embedding, (4,))))
    original, embedder, texts = load_original(source), export.embedder(), varied_texts()
    whole = original_embeddings(original, [EmbeddingInput(text) for text in texts])
    shorter = original.encode(texts, truncate_dim=4)
    np.testing.assert_array_equal(shortened_originals(original, whole, [4])[4], whole.vectors[:, :4])
    for dimensions, expected in ((None, whole.vectors), (4, shorter)):
        actual = embedder.embed(texts, EmbedOptions(dimensions=dimensions)).vectors
        assert actual.shape == expected.shape == (len(texts), dimensions or 12)
        assert np.abs(actual - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("wrong", [(0,), (33,), (8, 8), (-1, 4)])
def test_dimensions_that_the_model_cannot_have(small, wrong):
    with refused("config", r"options\.dimensions", "different numbers from 1 to 32"):
        with_dimensions(small("bert").export.embedding, wrong)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    make_matryoshka_embedder(folder)
    return folder / "model"


def config(source, **changes):
    settings = {"name": "tiny", "version": "1", "task": "sentence-embedding", "source": f"path:{source}"}
    return ModelConfig(**settings | {"options": {"dimensions": [8, 4]}, "gate": {"int8": LOOSE}} | changes)


def test_a_build_measures_every_dimension_and_seals_golden_cases(source, tmp_path):
    built = build(config(source), tmp_path, lambda stage: None)
    manifest = read_artifact(tmp_path / "tiny").manifest
    assert json.loads((tmp_path / "tiny" / "manifest.json").read_bytes())["embedding"]["dimensions"] == [4, 8]
    for variant, metrics in manifest.parity.variants.items():
        for dimensions in (4, 8):
            assert metrics[f"max_abs_at_{dimensions}"] <= (1e-6 if variant == "fp32" else 0.2)
            assert metrics[f"cosine_min_at_{dimensions}"] > 0.9
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert "cosine min at 4 | cosine min at 8" in card and "Shorter vectors: 4, 8 numbers" in card
    report = (tmp_path / ".reports" / "tiny" / "report.html").read_text()
    assert "cosine_min_at_4" in report and "lowest cosine of plain texts at 8" in report
    assert verify(built.path).variants["int8"].cases == manifest.golden.cases


def test_a_dimension_that_misses_its_gate_fails_the_build(source, tmp_path):
    strict = config(source, gate={"int8": {**LOOSE, "cosine_min_at_4": 1.0}})
    with refused("gate", "int8: cosine_min_at_4 is 0.9.*, expected >= 1"):
        build(strict, tmp_path, lambda stage: None)
