"""Static embeddings return the vectors of sentence-transformers, in fp32 and with an int8 table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ml_bridge import EmbedOptions
from onnx_ml_bridge.artifacts.families.sentence_embedding import UNLIMITED_TOKENS
from onnx_ml_bridge.export.sentence_embedding import load_and_export
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.graphs.files import describe_graph
from onnx_ml_bridge.quantize.int8 import quantize_graph
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from refusing import refused
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from small_exports import SmallExport, add_int8, cosines, varied_texts
from small_static import DIM, make_model2vec, make_static, static_tokenizer, table

TOLERANCE = 1e-6


def export_static(source: Path) -> SmallExport:
    assert resolve_source(f"path:{source}").folder == source
    staging = source.parent / "staging"
    staging.mkdir()
    exported = load_and_export(source, staging)
    graphs = {"fp32": describe_graph(exported.graph, exported.graph_file)}
    tokenizer = TextTokenizer(staging / exported.tokenizer.file, exported.tokenizer)
    return SmallExport(source, staging, exported, graphs, tokenizer)


def check_parity(small: SmallExport, prompt_name: str | None = None) -> None:
    texts = [*varied_texts(), "one long text " * 3000]
    original = small.original(texts, prompt_name)
    embedder = small.embedder()
    result = embedder.embed(texts, EmbedOptions(prompt_name=prompt_name))
    assert np.abs(result.vectors - original.vectors).max() <= TOLERANCE * max(1.0, np.abs(original.vectors).max())
    assert result.token_counts.tolist() == list(original.tokens)
    assert result.truncated.tolist() == list(original.truncated)
    assert np.ptp(original.vectors, axis=0).max() > 0.1
    options = EmbedOptions(prompt_name=prompt_name)
    alone = np.concatenate([embedder.embed([text], options).vectors for text in texts[::3]])
    assert np.abs(alone - result.vectors[::3]).max() <= TOLERANCE


@pytest.fixture(scope="module")
def static(tmp_path_factory) -> SmallExport:
    return export_static(make_static(tmp_path_factory.mktemp("static")))


@pytest.mark.parametrize("prompt_name", [None, "query"])
def test_static_embeddings(static, prompt_name):
    assert static.export.tokenizer.max_tokens == UNLIMITED_TOKENS and static.export.embedding.normalized
    check_parity(static, prompt_name)


@pytest.mark.parametrize("options", [{"normalize": False}, {"dense": True}, {"max_length": 20}], ids=str)
def test_heads_and_limits_of_static_embeddings(tmp_path, options):
    check_parity(export_static(make_static(tmp_path, **options)))


@pytest.mark.parametrize(
    "options", [{}, {"normalize": False}, {"dtype": torch.float16}, {"shared_rows": True}], ids=str
)
def test_folders_of_model2vec(tmp_path, options):
    small = export_static(make_model2vec(tmp_path, **options))
    assert small.export.embedding.normalized is options.get("normalize", True)
    check_parity(small)


def test_a_model2vec_folder_that_does_not_mention_it_is_not_normalized(tmp_path):
    """The default of the library is false."""
    small = export_static(make_model2vec(tmp_path, normalize=None))
    (vector,) = small.embedder().embed(["one two three"]).vectors
    ids = static_tokenizer().encode("one two three", add_special_tokens=False).ids
    expected = table(static_tokenizer().get_vocab_size()).numpy()[ids].mean(axis=0)
    assert np.abs(vector - expected).max() <= TOLERANCE and not small.export.embedding.normalized
    check_parity(small)


@pytest.mark.parametrize("cut", [8, 1000])
def test_static_embeddings_with_truncate_dim(tmp_path, cut):
    source = make_static(tmp_path)
    path = source / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncate_dim": cut}))
    small = export_static(source)
    assert (small.export.embedding.dim, small.export.embedding.normalized) == (min(cut, DIM), cut > DIM)
    check_parity(small)


def test_a_model2vec_folder_with_modules_is_the_same_model(tmp_path):
    plain, listed = (make_model2vec(tmp_path / name) for name in ("plain", "listed"))
    modules = [("0", ".", "models.StaticEmbedding"), ("1", "1_Normalize", "models.Normalize")]
    listing = [
        {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.{kind}"}
        for name, path, kind in modules
    ]
    (listed / "modules.json").write_text(json.dumps(listing))
    (listed / "1_Normalize").mkdir()
    texts = varied_texts()
    first, second = (export_static(source).embedder().embed(texts).vectors for source in (plain, listed))
    np.testing.assert_array_equal(first, second)
    reference = SentenceTransformer(str(listed), device="cpu", local_files_only=True).encode(texts)
    assert np.abs(first - reference).max() <= TOLERANCE


def test_the_int8_variant_has_an_int8_table_and_no_products(static):
    small = static
    quantized = add_int8(small)
    assert quantized.layers == {} and len(quantized.tables) == 1
    assert set(quantized.model.opset_imports) == {""}
    sizes = [(small.staging / graph.file).with_suffix(".onnx_data").stat().st_size for graph in small.graphs.values()]
    assert sizes[1] < 0.3 * sizes[0]
    texts = [text for text in varied_texts() if text.strip()]
    exact, approximate = (small.embedder(variant).embed(texts).vectors for variant in ("fp32", "int8"))
    assert 0.9995 < cosines(exact, approximate).min() < 1


def test_a_table_that_is_too_small_for_int8_is_refused(static, monkeypatch):
    monkeypatch.setattr("onnx_ml_bridge.quantize.matmul_groups._MIN_TABLE_VALUES", 1 << 30)
    with refused("unsupported_model", "neither a matrix product nor a large table", 'variants = \\["fp32"\\]'):
        quantize_graph(static.staging, static.export.graph_file, static.calibration())


def test_a_table_with_too_few_rows_is_refused(tmp_path):
    source = make_model2vec(tmp_path)
    save_file({"embeddings": torch.zeros(5, DIM)}, source / "model.safetensors")
    with refused("unsupported_model", "5 rows"):
        export_static(source)


def test_damaged_folders_of_model2vec_are_refused(tmp_path):
    source = make_model2vec(tmp_path)
    (source / "tokenizer.json").write_text("{")
    with refused("source", source.name):
        export_static(source)


def test_the_graph_looks_up_rows_and_computes_a_mean(static):
    kinds = [node.op_type for node in ir.load(static.staging / static.export.graph_file).graph]
    assert kinds.count("Gather") == 1 and "MatMul" not in kinds


def test_the_tokenizer_of_the_artifact_adds_no_special_tokens(static):
    state = json.loads((static.staging / "tokenizer.json").read_text())
    assert (state["post_processor"], state["truncation"], state["padding"]) == (None, None, None)
