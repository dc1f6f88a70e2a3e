"""The runtime on a small artifact: results, batches, limits, errors, and the calls of the bridge."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import (
    ArtifactError,
    BridgeOptions,
    ConfigError,
    Embedder,
    InferenceError,
    InputError,
    Model,
    OnnxMlBridge,
    Ranked,
    Recognizer,
    Reranker,
    RerankOptions,
    TaskNotLoadedError,
)
from onnx_ml_bridge.runtime import rerank, session
from onnx_ml_bridge.runtime.rerank import CrossEncoder

TINY = VALID / "tiny-rerank"
QUERY = "the big cat"
DOCUMENTS = ["a dog sleeps", "", "the cat sings on a red house!", " ", "dog " * 100, "\U0001f600", "a\0b", "x" * 2000]


@pytest.fixture(params=["fp32", "int8"])
def reranker(request) -> Reranker:
    return Reranker.open(Model(TINY, variant=request.param))


@pytest.fixture
def sums(monkeypatch) -> list[tuple[int, int]]:
    """Replace the graph by a function whose score is the sum of a pair's token ids; return the shapes of all runs."""
    shapes = []

    def run(_, outputs, feeds, watch):
        assert outputs == ["scores"] and list(feeds) == ["input_ids", "attention_mask", "token_type_ids"]
        shapes.append(feeds["input_ids"].shape)
        return [(feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1).astype(np.float32)]

    monkeypatch.setattr(session.GraphSession, "run", run)
    return shapes


def test_shapes_and_types_of_scores(reranker):
    scored = reranker.backend.score(QUERY, DOCUMENTS)
    assert scored.scores.shape == (8,) and scored.scores.dtype == np.float32
    assert (scored.token_counts.dtype, scored.truncated.dtype) == (np.int64, np.bool_)
    assert scored.token_counts.tolist()[:5] == [9, 6, 14, 6, 48]
    assert scored.truncated.tolist() == [False] * 4 + [True] + [False] * 3
    empty = reranker.backend.score(QUERY, [])
    assert empty.scores.shape == empty.token_counts.shape == empty.truncated.shape == (0,)


def test_a_ranking_has_the_documents_by_descending_score(reranker):
    scored, ranked = reranker.backend.score(QUERY, DOCUMENTS), reranker.rerank(QUERY, DOCUMENTS)
    assert sorted(each.index for each in ranked) == list(range(8))
    assert [each.score for each in ranked] == sorted(scored.scores.tolist(), reverse=True)
    for each in ranked:
        assert each == Ranked(each.index, float(scored.scores[each.index]), bool(scored.truncated[each.index]))
    assert reranker.rerank(QUERY, []) == []


def test_documents_of_equal_scores_keep_their_order(reranker):
    ranked = reranker.rerank(QUERY, ["a dog", "a tree", "a dog", "a tree", "a dog"])
    assert [each.index for each in ranked] in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


@pytest.mark.parametrize(("top_k", "count"), [(None, 8), (1, 1), (3, 3), (8, 8), (1000, 8)])
def test_top_k_limits_the_number_of_documents(reranker, top_k, count):
    assert reranker.rerank(QUERY, DOCUMENTS, RerankOptions(top_k=top_k)) == reranker.rerank(QUERY, DOCUMENTS)[:count]


@pytest.mark.parametrize("top_k", [0, -1, 1.0, "1", True])
def test_an_invalid_top_k_is_refused(reranker, top_k):
    with pytest.raises(ConfigError, match=f"option top_k, expected an integer, at least 1, got {top_k!r}"):
        reranker.rerank(QUERY, DOCUMENTS, RerankOptions(top_k=top_k))


def test_scores_do_not_depend_on_the_batch(reranker):
    together = reranker.backend.score(QUERY, DOCUMENTS).scores
    alone = [reranker.backend.score(QUERY, [document]).scores[0] for document in DOCUMENTS]
    narrow = CrossEncoder(reranker.backend.model, token_budget=1).score(QUERY, DOCUMENTS).scores
    np.testing.assert_allclose(together, alone, atol=1e-6, rtol=0)
    np.testing.assert_allclose(together, narrow, atol=1e-6, rtol=0)


def test_runs_are_within_the_token_budget_and_results_in_order(sums):
    cross_encoder = CrossEncoder(Reranker.open(TINY).backend.model, token_budget=60)
    scores = cross_encoder.score(QUERY, DOCUMENTS).scores
    assert max(rows * tokens for rows, tokens in sums) <= 60 and len(sums) > 2
    pairs = cross_encoder.model.tokenizer.encode(QUERY, DOCUMENTS)
    assert scores.tolist() == [sum(pair.ids) for pair in pairs]


def test_a_long_list_is_tokenized_in_blocks(sums, monkeypatch):
    reranker = Reranker.open(TINY).backend
    encode, blocks = reranker.model.tokenizer.encode, []
    monkeypatch.setattr(
        reranker.model.tokenizer,
        "encode",
        lambda query, documents, watch: blocks.append(len(documents)) or encode(query, documents, watch),
    )
    documents = [f"the cat {number}" for number in range(2 * rerank._MAX_BLOCK + 1)]
    scored = reranker.score(QUERY, documents)
    assert blocks == [rerank._MAX_BLOCK, rerank._MAX_BLOCK, 1]
    pairs = encode(QUERY, documents)
    assert scored.scores.tolist() == [sum(pair.ids) for pair in pairs]
    assert scored.token_counts.tolist() == [len(pair.ids) for pair in pairs]


@pytest.mark.parametrize(
    ("query", "documents", "code", "index"),
    [
        ("q", ["a", 5], "input_type", 1),
        ("q", ["a", "b", None], "input_type", 2),
        ("q", [b"bytes"], "input_type", 0),
        ("q", ["ok", "lone \ud800 surrogate"], "input_text", 1),
        ("q", ["ok", "x" * 1_000_001], "input_too_large", 1),
        ("q", "one document", "input_type", None),
        ("q", b"one document", "input_type", None),
        (5, ["a"], "input_type", None),
        (None, [], "input_type", None),
        ("lone \ud800 surrogate", ["a"], "input_text", None),
        ("x" * 1_000_001, ["a"], "input_too_large", None),
    ],
)
def test_bad_texts_are_refused_with_their_index(reranker, query, documents, code, index):
    with pytest.raises(InputError) as refused:
        reranker.rerank(query, documents)
    assert (refused.value.code, refused.value.index) == (code, index)


def test_invalid_texts_are_refused_before_the_graph_is_loaded():
    reranker = Reranker.open(TINY)
    with pytest.raises(InputError):
        reranker.rerank(QUERY, ["a", 5])
    assert reranker.status().state == "unloaded"


def test_a_text_over_the_limit_is_refused_and_with_a_larger_limit_truncated():
    text = "the cat sleeps. " * 65_000
    with pytest.raises(InputError) as refused:
        Reranker.open(TINY).rerank(QUERY, [text])
    assert refused.value.code == "input_too_large"
    (ranked,) = Reranker.open(TINY, BridgeOptions(text_limit=2_000_000)).rerank(QUERY, [text])
    assert ranked.truncated


@pytest.mark.parametrize(
    "values", [np.array([np.nan], np.float32), np.array([np.inf], np.float32), np.zeros((1, 1), np.float32)], ids=repr
)
def test_invalid_scores_are_an_error(monkeypatch, values):
    monkeypatch.setattr(session.GraphSession, "run", lambda *_: [values])
    with pytest.raises(InferenceError, match=r"tiny-rerank \(fp32\) returned scores of shape"):
        Reranker.open(Model(TINY, variant="fp32")).rerank(QUERY, ["a"])


def test_many_threads_get_the_results_of_one(reranker):
    expected = reranker.rerank(QUERY, DOCUMENTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: reranker.rerank(QUERY, DOCUMENTS), range(40)))
    assert all(each == expected for each in found)


def test_invalid_options_are_named():
    for option in ("threads", "token_budget", "text_limit"):
        with pytest.raises(ConfigError, match=option):
            CrossEncoder(Reranker.open(TINY).backend.model, **{option: 0})


def test_the_bridge_ranks_and_warns_about_truncated_pairs(caplog):
    bridge = OnnxMlBridge.open(Model(TINY, variant="int8"))
    bridge.warm_up()
    with caplog.at_level(logging.WARNING):
        assert bridge.rerank(QUERY, DOCUMENTS[:3], 2) == bridge.reranker().rerank(QUERY, DOCUMENTS[:3])[:2]
        assert caplog.text == ""
        bridge.rerank(QUERY, DOCUMENTS)
    assert "1 of 8 pairs were truncated to 48 tokens" in caplog.text
    assert bridge.reranker().info.variant == "int8"


def test_the_health_check_fails_if_the_model_fails(monkeypatch):
    bridge = OnnxMlBridge.open(TINY)
    bridge.self_test()
    assert bridge.health_check()
    monkeypatch.setattr(session.GraphSession, "run", lambda *_: [np.array([np.nan], np.float32)])
    with pytest.raises(InferenceError):
        bridge.self_test()
    assert not bridge.health_check()


def test_a_call_without_a_model_names_the_task():
    with pytest.raises(TaskNotLoadedError, match="task rerank"):
        OnnxMlBridge([]).rerank(QUERY, ["a"])


def test_another_task_is_refused():
    with pytest.raises(ArtifactError, match="another task"):
        Embedder.open(TINY)
    with pytest.raises(ArtifactError, match="another task"):
        Recognizer.open(TINY)
