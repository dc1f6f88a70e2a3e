"""Rerankers return the scores and the order of sentence-transformers' CrossEncoder, alone and in batches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_ml_bridge import RerankOptions
from onnx_ml_bridge.artifacts.staging import Staged
from onnx_ml_bridge.parity.rerank.original import OriginalScores, load_original, original_scores
from onnx_ml_bridge.runtime.rank_agreement import TIE, is_same_order, rank_figures, ranking
from small_models import MAX_TOKENS
from small_rerankers import RERANKERS, make_reranker, random_inputs, reranker_of, stage_reranker
from torch import nn

TOLERANCE = 1e-5
# The default is 16 queries; `make agreement-rerank` sets ONNX_ML_BRIDGE_QUERIES to 200
QUERIES, DOCUMENTS = int(os.environ.get("ONNX_ML_BRIDGE_QUERIES", "16")), 20


@dataclass(frozen=True)
class Small:
    """A small model in `folder`, its export, and the original's scores for all inputs."""

    staged: Staged
    folder: Path
    references: list[OriginalScores]


INPUTS = random_inputs(QUERIES, DOCUMENTS)


@pytest.fixture(scope="module", params=RERANKERS)
def small(request, tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp(request.param)
    model = make_reranker(folder, request.param)
    staging = tmp_path_factory.mktemp("staging")
    staged = stage_reranker(model, staging, "fp32", "int8")
    original = load_original(model)
    return Small(staged, model, [original_scores(original, entry, MAX_TOKENS) for entry in INPUTS])


def test_logits_and_order_are_the_originals(small):
    reranker = reranker_of(small.staged)
    largest, spreads, differing = 0.0, [], 0
    for entry, reference in zip(INPUTS, small.references, strict=True):
        answer = reranker.backend.score(entry.query, entry.documents)
        assert answer.token_counts.tolist() == list(reference.tokens)
        assert answer.truncated.tolist() == list(reference.truncated)
        largest = max(largest, float(np.abs(answer.scores - reference.scores).max()))
        spreads.append(float(np.ptp(reference.scores)))
        differing += not is_same_order(reference.scores, answer.scores)
    pairs, name = QUERIES * DOCUMENTS, small.folder.parent.name
    print(f"\n{name}: {QUERIES:,} queries, {pairs:,} pairs, max abs {largest:.1e}, {differing} orders differ")
    assert largest <= TOLERANCE
    assert differing == 0
    # The scores of a query's documents must differ: if they were nearly the same, every order would pass
    assert np.median(spreads) > 0.3
    assert sum(any(reference.truncated) for reference in small.references) > QUERIES // 10


def test_the_score_of_a_pair_does_not_depend_on_its_batch(small):
    for variant in ("fp32", "int8"):
        whole, narrow = reranker_of(small.staged, variant), reranker_of(small.staged, variant, token_budget=1)
        for entry in INPUTS[:20]:
            together = whole.backend.score(entry.query, entry.documents).scores
            alone = narrow.backend.score(entry.query, entry.documents).scores
            assert np.abs(together - alone).max() <= 1e-6


def test_int8_follows_the_order(small):
    reranker = reranker_of(small.staged, "int8")
    answers = [reranker.backend.score(entry.query, entry.documents).scores for entry in INPUTS[:40]]
    references = [reference.scores for reference in small.references[:40]]
    assert rank_figures(references, answers)["kendall_tau"] > 0.9


def test_the_ranking_is_in_the_order_of_the_scores(small):
    reranker = reranker_of(small.staged)
    entry = INPUTS[0]
    scored, ranked = reranker.backend.score(entry.query, entry.documents), reranker.rerank(entry.query, entry.documents)
    assert [each.index for each in ranked] == ranking(scored.scores).tolist()
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
    assert [each.truncated for each in ranked] == [bool(scored.truncated[each.index]) for each in ranked]
    assert reranker.rerank(entry.query, entry.documents, RerankOptions(top_k=3)) == ranked[:3]
    assert reranker.rerank(entry.query, entry.documents, RerankOptions(top_k=1000)) == ranked
    assert reranker.rerank(entry.query, []) == []


def test_equal_documents_keep_their_order(small):
    document = INPUTS[0].documents[0]
    ranked = reranker_of(small.staged).rerank("a query", [document] * 7)
    assert [each.index for each in ranked] == list(range(7))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_sides_and_activations(tmp_path, kind, side):
    model = make_reranker(tmp_path, kind, activation=nn.Sigmoid(), truncation_side=side)
    (tmp_path / "staging").mkdir()
    reranker, original = reranker_of(stage_reranker(model, tmp_path / "staging")), load_original(model)
    for entry in INPUTS[:30]:
        reference = original_scores(original, entry, MAX_TOKENS)
        answer = reranker.backend.score(entry.query, entry.documents)
        assert answer.token_counts.tolist() == list(reference.tokens)
        assert np.abs(answer.scores - reference.scores).max() <= TOLERANCE
        assert answer.scores.min() >= 0 and answer.scores.max() <= 1


def test_the_original_pads_without_an_effect(small):
    """The original's score of a pair alone and in a batch differs by less than `TIE`, so it is a valid reference."""
    original, entry = load_original(small.folder), INPUTS[3]
    alone: NDArray[np.float32] = np.array([original.predict([[entry.query, text]])[0] for text in entry.documents])
    assert np.abs(alone - small.references[3].scores).max() < TIE
