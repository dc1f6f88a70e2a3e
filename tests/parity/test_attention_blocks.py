"""Models for long texts, whose attention runs over blocks of queries, return the answers of the originals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from long_models import CONFIGS, LAYERS, MAX_TOKENS, PLAIN, long_texts, make_classifier, make_encoder, make_pipeline
from onnx_ml_bridge import Embedder, EmbedOptions, Model
from onnx_ml_bridge.artifacts.constants import graph_file
from onnx_ml_bridge.cli.build import build
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.export import attention_blocks, rerank, token_classification
from onnx_ml_bridge.export.attention_blocks import MAX_PLAIN_TOKENS, trace_in_blocks
from onnx_ml_bridge.export.tracing import export_module
from onnx_ml_bridge.graphs.attention_loop import attention_loops
from onnx_ml_bridge.graphs.files import save_graph
from onnx_ml_bridge.quantize import smoothquant
from onnx_ml_bridge.quantize.fp16 import convert
from onnx_ml_bridge.quantize.matmul_groups import find_groups
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.session import create_session
from onnxruntime import InferenceSession
from rust_command import rust_answers
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.masking_utils import chunked_causal_mask_function

TOLERANCE = 1e-5
BATCHES = ([1], [2, 1], [49, 50, 51, 52], [99, 100, 101], [255, 256, 257], [300, 40, 511], [512, 513], [1000, 1200])


class Encoder(nn.Module):
    """An encoder that returns only the last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def inputs_of(lengths: list[int], tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, tokens, mask.shape, generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def traced(model: nn.Module, max_tokens: int = MAX_TOKENS) -> ir.Model:
    inputs = inputs_of([7, 5, 7], 100)
    axes = {name: {0: "batch", 1: "tokens"} for name in inputs}
    return trace_in_blocks(model, max_tokens, lambda: export_module(Encoder(model), inputs, ["states"], axes))


def states(session: InferenceSession, inputs: dict[str, Tensor]) -> np.ndarray:
    return session.run(["states"], {name: tensor.numpy() for name, tensor in inputs.items()})[0]


def session_of(path: Path) -> InferenceSession:
    return InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[[str], tuple[nn.Module, Path]]:
    """The function `exported(name)`, which returns a model of `CONFIGS` and the path of its graph."""
    made: dict[str, tuple[nn.Module, Path]] = {}

    def get(name: str) -> tuple[nn.Module, Path]:
        if name not in made:
            model, folder = make_encoder(CONFIGS[name]), tmp_path_factory.mktemp("long")
            graph = traced(model)
            assert len(attention_loops(graph.graph)) == LAYERS
            assert graph.opset_imports == {"": 20}, "standard operators only"
            save_graph(graph, folder, "model.onnx")
            made[name] = (model, folder / "model.onnx")
        return made[name]

    return get


@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_those_of_the_original_and_the_same_alone(exported, name):
    model, path = exported(name)
    session = session_of(path)
    for lengths in BATCHES:
        inputs = inputs_of(lengths, model.config.vocab_size)
        with torch.no_grad():
            expected = Encoder(model)(**inputs).numpy()
        found = states(session, inputs)
        assert np.isfinite(found).all() and np.ptp(expected) > 1
        for row, length in enumerate(lengths):
            assert np.abs(found[row, :length] - expected[row, :length]).max() <= TOLERANCE
            alone = {key: value[row : row + 1, :length] for key, value in inputs.items()}
            np.testing.assert_array_equal(states(session, alone)[0], found[row, :length])


@pytest.mark.parametrize("name", CONFIGS)
def test_states_in_float16_are_close(exported, name, tmp_path):
    model, path = exported(name)
    save_graph(convert(path), tmp_path, "half.onnx")
    for lengths in ([1], [300, 40, 511]):
        inputs = inputs_of(lengths, model.config.vocab_size)
        exact, found = (states(session_of(each), inputs) for each in (path, tmp_path / "half.onnx"))
        assert np.isfinite(found).all()
        for row, length in enumerate(lengths):
            a, b = exact[row, :length], found[row, :length]
            assert ((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min() >= 0.9999


def test_models_for_short_texts_keep_plain_attention(exported):
    model, _ = exported("bert")
    assert model.config._attn_implementation == "sdpa", "the export restores the attention"
    inputs = {name: {0: "batch", 1: "tokens"} for name in inputs_of([7], 100)}
    plain = export_module(Encoder(model), inputs_of([7, 5, 7], 100), ["states"], inputs)
    kept = traced(model, MAX_PLAIN_TOKENS)
    assert ir.to_proto(kept).SerializeToString() == ir.to_proto(plain).SerializeToString()


@pytest.mark.parametrize("name", PLAIN)
def test_attention_of_other_kinds_stays_plain(name, caplog):
    model = make_encoder(PLAIN[name])
    graph = traced(model)
    assert not attention_loops(graph.graph) and graph.opset_imports == {"": 20}
    assert f"{type(model).__name__} does not use AttentionInterface" in caplog.text


def test_attention_with_an_unknown_argument_stays_plain(caplog):
    model = make_encoder(CONFIGS["bert"])
    attention = model.encoder.layer[1].attention.self
    forward = attention.forward
    attention.forward = lambda *args, **others: forward(*args, **others, position_bias=torch.zeros(1))
    graph = traced(model)
    assert not attention_loops(graph.graph) and "a layer has position_bias" in caplog.text


def test_limits_are_those_of_the_mask_function():
    def limits(function) -> tuple[int, int]:
        return attention_blocks._limits(function, MAX_TOKENS)

    def band(before: int, after: int):
        return lambda text, head, query, key: (query - key <= before) & (key - query <= after)

    assert limits(lambda text, head, query, key: query >= 0) == (-1, -1)
    assert limits(lambda text, head, query, key: key <= query) == (-1, 0)
    assert limits(band(99, 7)) == (99, 7)
    assert limits(band(MAX_TOKENS, 0)) == (-1, 0)
    chunks = chunked_causal_mask_function(64, torch.zeros(1, dtype=torch.int64))
    assert limits(chunks) == attention_blocks._NO_BAND


def test_logits_of_a_token_classifier(tmp_path):
    source, staging = make_classifier(tmp_path / "source", num_labels=5, for_tokens=True), tmp_path / "staging"
    staging.mkdir()
    loaded = token_classification.load_model(source)
    exported = token_classification.export_model(loaded, source, staging)
    assert len(attention_loops(exported.graph.graph)) == LAYERS
    inputs = inputs_of([513, 1200], loaded.model.config.vocab_size)
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
    feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
    found = session_of(staging / exported.graph_file).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = loaded.model(**inputs).logits.numpy()
    assert np.abs(found[0, :513] - expected[0, :513]).max() <= TOLERANCE
    assert np.abs(found[1] - expected[1]).max() <= TOLERANCE


def test_scores_of_a_reranker(tmp_path):
    source, staging = make_classifier(tmp_path / "source", num_labels=1, for_tokens=False), tmp_path / "staging"
    CrossEncoder(str(source), device="cpu").save_pretrained(str(source), create_model_card=False)
    staging.mkdir()
    encoder = rerank.load_model(source)
    exported = rerank.export_model(encoder, source, staging)
    assert len(attention_loops(exported.graph.graph)) == LAYERS
    pair = encoder.tokenizer("a house", long_texts()[-4], return_tensors="np")
    assert 1000 < pair["input_ids"].shape[1] < MAX_TOKENS
    found = session_of(staging / exported.graph_file).run(["scores"], dict(pair))[0]
    expected = encoder.predict([("a house", long_texts()[-4])])
    assert np.abs(found - expected).max() <= TOLERANCE


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Callable[[str], tuple[Path, Path]]:
    """The function `built(name)`, which returns a pipeline with an encoder of `CONFIGS`, and its artifact."""
    made: dict[str, tuple[Path, Path]] = {}

    def get(name: str) -> tuple[Path, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            source = make_pipeline(folder, name)
            gate = {"int8": {"cosine_min": 0.95, "cosine_p05": 0.95, "cosine_min_hard": 0.9}}
            config = ModelConfig(
                name="long", version="1", task="sentence-embedding", source=f"path:{source}", gate=gate
            )
            result = build(config, folder / "dist", lambda stage: None)
            assert result.path is not None, result.error
            made[name] = (source, Path(result.path))
        return made[name]

    return get


pipelines = pytest.mark.parametrize("name", ["bert", "modernbert"])


@pipelines
def test_vectors_of_long_texts(built, name):
    source, artifact = built(name)
    texts = long_texts()
    expected = SentenceTransformer(str(source), device="cpu").encode(texts, batch_size=1)
    exact, rounded = (Embedder.open(Model(artifact, variant=variant)).embed(texts) for variant in ("fp32", "int8"))
    assert exact.token_counts.tolist()[-3:] == [1199, MAX_TOKENS, MAX_TOKENS]
    assert np.abs(exact.vectors - expected).max() <= TOLERANCE
    norms = np.linalg.norm(exact.vectors, axis=1) * np.linalg.norm(rounded.vectors, axis=1)
    assert ((exact.vectors * rounded.vectors).sum(1) / norms).min() >= 0.99


@pipelines
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_long_text_has_the_same_vector_in_a_batch(built, name, variant):
    _, artifact = built(name)
    session = create_session(artifact / graph_file("model", variant), usable_cpus())
    tokenizer = AutoTokenizer.from_pretrained(artifact)

    def vectors(texts: list[str]) -> np.ndarray:
        feeds = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        return session.run(["sentence_embedding"], dict(feeds))[0]

    together = vectors(long_texts())
    for text, vector in zip(long_texts(), together, strict=True):
        assert np.abs(vectors([text])[0] - vector).max() <= 1e-6


def test_smoothing_reaches_the_value_projection_through_the_loop(built):
    _, artifact = built("bert")
    groups = find_groups(ir.load(artifact / graph_file("model", "fp32")).graph)
    linears = {linear.node.outputs[0]: linear for group in groups for linear in group.linears}
    results = [group.activation for group in groups if group.activation.producer().op_type == "Reshape"]
    projections = [smoothquant._value_projection(result, linears) for result in results]
    # Queries, keys and values read one activation; the values come last
    values = [group.linears[2] for group in groups if len(group.linears) == 3]
    assert projections == values and len(values) == LAYERS


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pipelines
def test_rust_returns_the_vectors_of_python(rust, built, name, variant):
    _, artifact = built(name)
    command = [str(rust), "embed", "--model", str(artifact), "--variant", variant]
    answers = rust_answers(command, [json.dumps({"text": text}) for text in long_texts()])
    found = np.array([answer["embedding"] for answer in answers], np.float32)
    expected = Embedder.open(Model(artifact, variant=variant)).embed(long_texts(), EmbedOptions()).vectors
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 1e-6
