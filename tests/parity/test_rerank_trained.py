"""The small trained reranker: its scores equal the original's, int8 keeps the order, and Rust returns the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import Model, Reranker
from onnx_ml_bridge.parity.rerank.inputs import read_topics, rerank_inputs
from onnx_ml_bridge.parity.rerank.original import load_original, original_scores
from onnx_ml_bridge.runtime.rank_agreement import is_same_order, rank_figures, ranking

CHECKPOINT = Path(__file__).parents[1] / "models" / "cross-encoder-package-descriptions"
VARIANTS = ("fp32", "int8")
# The inputs are 40 queries with 20 documents each, and 4 queries with unusual documents, on which the model was not
# trained.
INPUTS = rerank_inputs()


@pytest.fixture(scope="module")
def rerankers(reranker_artifact) -> dict[str, Reranker]:
    return {variant: Reranker.open(Model(reranker_artifact, variant=variant)) for variant in VARIANTS}


def test_fp32_returns_the_scores_of_the_original(rerankers):
    original, reranker = load_original(CHECKPOINT), rerankers["fp32"]
    for entry in INPUTS:
        reference = original_scores(original, entry, reranker.backend.model.tokenizer.spec.max_tokens)
        answer = reranker.backend.score(entry.query, entry.documents)
        assert answer.token_counts.tolist() == list(reference.tokens)
        assert np.abs(answer.scores - reference.scores).max() <= 1e-5
        assert is_same_order(reference.scores, answer.scores)


def test_int8_keeps_the_order_and_the_first_document(rerankers):
    """The measured mean of Kendall's tau is 0.984, and all first documents are the same."""
    fp32, int8 = (
        [each.backend.score(entry.query, entry.documents).scores for entry in INPUTS] for each in rerankers.values()
    )
    figures = rank_figures(fp32, int8)
    assert figures["kendall_tau"] >= 0.95
    assert figures["top_1"] >= 0.95


def test_the_model_prefers_relevant_documents(rerankers):
    """The relevant document is ranked first for at least 80% of the queries of topics.txt; by chance, it is for 33%."""
    topics = read_topics().documents
    first = [
        ranking(rerankers["fp32"].backend.score(query, documents).scores)[0] for query, documents in topics.items()
    ]
    assert np.mean(np.equal(first, 0)) >= 0.8


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", ["trained", "tiny"])
def test_rust_returns_the_rankings_of_python(rust, reranker_artifact, model, variant):
    folder = reranker_artifact if model == "trained" else VALID / "tiny-rerank"
    reranker = Reranker.open(Model(folder, variant=variant))
    lines = "".join(json.dumps({"query": each.query, "documents": each.documents}) + "\n" for each in INPUTS)
    command = [str(rust), "rerank", "--model", str(folder), "--variant", variant]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, check=True)
    for entry, line in zip(INPUTS, done.stdout.splitlines(), strict=True):
        answer, ranked = reranker.backend.score(entry.query, entry.documents), json.loads(line)["ranking"]
        scores = np.empty(len(ranked))
        scores[[each["index"] for each in ranked]] = [each["score"] for each in ranked]
        assert np.abs(scores - answer.scores).max() <= 1e-6
        assert is_same_order(answer.scores, scores)
        assert [each["score"] for each in ranked] == sorted((each["score"] for each in ranked), reverse=True)
        assert all(each["truncated"] == answer.truncated[each["index"]] for each in ranked)
