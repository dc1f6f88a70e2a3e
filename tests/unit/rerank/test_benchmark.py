"""The benchmark of rankings: its queries, the comparison of answers, and the form of answers."""

from __future__ import annotations

import json

import pytest
from examples import VALID
from onnx_ml_bridge import Model, Reranker

from benchmarks.contenders import Job
from benchmarks.tasks import rerank
from benchmarks.tasks.rerank import compare_rankings, compose_queries

TOPICS = {f"query {topic}": [f"document {topic}.{number}" for number in range(3)] for topic in range(10)}


@pytest.mark.parametrize(("count", "documents"), [(4, 20), (25, 30), (1, 3)])
def test_a_query_has_its_own_documents_and_others(count, documents):
    queries = compose_queries(TOPICS, count, documents)
    assert queries == compose_queries(TOPICS, count, documents)
    assert [each["query"] for each in queries] == [f"query {number % 10}" for number in range(count)]
    for each in queries:
        assert len(set(each["documents"])) == len(each["documents"]) == documents
        assert set(TOPICS[each["query"]]) <= set(each["documents"])


def test_a_repeated_query_has_other_documents():
    queries = compose_queries(TOPICS, 11, 20)
    assert queries[0]["query"] == queries[10]["query"]
    assert set(queries[0]["documents"]) != set(queries[10]["documents"])


def test_an_answer_has_the_form_of_the_command():
    line = rerank.to_json([(1, 0.75), (0, 0.25)])
    assert line == {"ranking": [{"index": 1, "score": 0.75}, {"index": 0, "score": 0.25}]}
    assert rerank.count_outputs(line) == 2


def test_answers_are_compared_with_those_of_the_original():
    reference = [rerank.to_json([(2, 3.0), (1, 2.0), (0, 1.0)]), rerank.to_json([(0, 2.0), (1, 1.0)])]
    swapped = [rerank.to_json([(2, 3.0), (0, 2.0), (1, 1.0)]), rerank.to_json([(1, 2.0), (0, 1.0)])]
    assert compare_rankings(reference, reference) == {"kendall_tau": 1.0, "top_1": 1.0}
    assert compare_rankings(swapped, reference) == {"kendall_tau": pytest.approx((1 / 3 - 1) / 2), "top_1": 0.5}
    assert compare_rankings(reference, None) == {}


def test_the_loader_ranks_every_query_of_a_call():
    run = rerank.LOADERS["onnx-ml-bridge"](Job("rerank", "onnx-ml-bridge", str(VALID / "tiny-rerank"), 1))
    queries = [{"query": "cat", "documents": ["dog", "tree"]}, {"query": "dog", "documents": ["a"]}]
    answers = [rerank.to_json(answer) for answer in run(json.loads(json.dumps(queries)))]
    assert list(map(rerank.count_outputs, answers)) == [2, 1]
    ranked = Reranker.open(Model(VALID / "tiny-rerank", variant="fp32")).rerank("cat", ["dog", "tree"])
    assert answers[0]["ranking"] == [{"index": each.index, "score": each.score} for each in ranked]
