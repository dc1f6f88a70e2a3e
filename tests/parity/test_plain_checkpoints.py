"""Checkpoints of transformers without modules.json: pooled as the option says, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.export.sentence_embedding import load_and_export
from onnx_ml_bridge.graphs.files import describe_graph
from onnx_ml_bridge.parity.sentence_embedding.original import EmbeddingInput, load_original, original_embeddings
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from refusing import refused
from sentence_transformers import SentenceTransformer
from small_exports import SmallExport, varied_texts
from small_models import make_model

TOLERANCE = 1e-5


def plain(folder: Path, architecture: str) -> Path:
    """Write a checkpoint as transformers saves it, without the files of sentence-transformers."""
    source = make_model(folder, architecture)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (source / name).unlink()
    shutil.rmtree(source / "1_Pooling")
    return source


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return plain(tmp_path_factory.mktemp("plain"), "distilbert")


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_a_checkpoint_with_named_pooling(checkpoint, tmp_path, pooling):
    exported = load_and_export(checkpoint, tmp_path, pooling)
    assert exported.embedding.pooling == (pooling,) and not exported.embedding.normalized
    graphs = {"fp32": describe_graph(exported.graph, exported.graph_file)}
    tokenizer = TextTokenizer(tmp_path / exported.tokenizer.file, exported.tokenizer)
    small = SmallExport(checkpoint, tmp_path, exported, graphs, tokenizer)
    texts = varied_texts()
    original = original_embeddings(load_original(checkpoint, pooling), [EmbeddingInput(text) for text in texts])
    result = small.embedder().embed(texts)
    assert np.abs(result.vectors - original.vectors).max() <= TOLERANCE * max(1, np.abs(original.vectors).max())
    assert result.token_counts.tolist() == list(original.tokens)


def test_the_default_of_sentence_transformers_is_the_mean(checkpoint):
    texts = varied_texts()[:20]
    expected = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True).encode(texts)
    np.testing.assert_allclose(load_original(checkpoint, "mean").encode(texts), expected, atol=1e-6)


def test_a_build_with_the_option(checkpoint, tmp_path):
    settings = {"name": "plain", "version": "1", "task": "sentence-embedding", "source": f"path:{checkpoint}"}
    # The vectors are not normalized, and their elements are far above 1
    gate = {"fp32": {"max_abs": 1e-4}}
    model = ModelConfig(**settings, variants=["fp32"], options={"pooling": "cls"}, gate=gate)
    built = build(model, tmp_path, lambda stage: None)
    manifest = read_artifact(tmp_path / "plain").manifest
    assert manifest.parity.variants["fp32"]["token_mismatches"] == 0 and built.status == "built"
    listing = json.loads((tmp_path / "plain" / "modules.json").read_bytes())
    assert [module["path"] for module in listing] == ["", "1_Pooling"]
    assert json.loads((tmp_path / "plain" / "1_Pooling" / "config.json").read_bytes())["pooling_mode"] == "cls"
    assert manifest.task_revision == 1


def test_without_the_option_the_refusal_names_it(checkpoint, tmp_path):
    with refused("unsupported_model", "no modules.json", "option pooling"):
        load_and_export(checkpoint, tmp_path)


def test_an_unknown_pooling(checkpoint, tmp_path):
    with refused("config", r"options\.pooling", "one of cls, max, mean"):
        load_and_export(checkpoint, tmp_path, "median")


def test_a_pipeline_names_its_own_pooling(tmp_path):
    source = make_model(tmp_path, "bert")
    with refused("config", "modules.json", "Leave out the option"):
        load_and_export(source, tmp_path, "cls")
