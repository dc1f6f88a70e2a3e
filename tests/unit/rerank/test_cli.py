"""The command `rerank`: the answers to its lines, with a fake reranker that scores a document by its length."""

from __future__ import annotations

import json

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import Model, Ranked, Reranker, RerankOptions
from onnx_ml_bridge.artifacts.errors import InferenceError
from onnx_ml_bridge.cli.jsonl import Line, LineError, LineFormat, answer_lines, failure_line, json_line
from onnx_ml_bridge.cli.main import create_app
from onnx_ml_bridge.cli.rerank import RerankAnswers, parse_entry
from typer.testing import CliRunner

ENTRY = LineFormat(1000, parse_entry)


class FakeReranker:
    """Scores a document by a tenth of its length. Documents of 5 characters or more are truncated."""

    def rerank(self, query, documents, options):
        if query == "broken":
            raise InferenceError("not finite")
        ranked = [Ranked(index, len(text) / 10, len(text) >= 5) for index, text in enumerate(documents)]
        return sorted(ranked, key=lambda each: -each.score)[: options.top_k]


def answers(*raws: bytes, top_k: int | None = None) -> list[dict]:
    """Return the output lines for input lines, which are numbered from 1."""
    lines = [Line(number, raw) for number, raw in enumerate(raws, start=1)]
    found = answer_lines(RerankAnswers(FakeReranker(), RerankOptions(top_k=top_k)), lines, ENTRY)
    return [json.loads(failure_line(each) if isinstance(each, LineError) else json_line(each[1])) for each in found]


def test_a_line_is_answered_with_a_ranking():
    assert answers(b'{"query":"q","documents":["a","abcdef","abc"]}', b'{"query":"q","documents":[]}') == [
        {
            "ranking": [
                {"index": 1, "score": 0.6, "truncated": True},
                {"index": 2, "score": 0.3, "truncated": False},
                {"index": 0, "score": 0.1, "truncated": False},
            ]
        },
        {"ranking": []},
    ]


@pytest.mark.parametrize(("top_k", "expected"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 0])])
def test_only_the_best_documents_are_printed(top_k, expected):
    (answer,) = answers(b'{"query":"q","documents":["a","abcdef","abc"]}', top_k=top_k)
    assert [each["index"] for each in answer["ranking"]] == expected


def test_a_line_that_fails_does_not_affect_the_others():
    good, broken = b'{"query":"q","documents":["a"]}', b'{"query":"broken","documents":["a"]}'
    found = answers(good, broken, b"no json", b'{"query":"q"}', good)
    assert found[0] == found[4] == {"ranking": [{"index": 0, "score": 0.1, "truncated": False}]}
    errors = [each["error"] for each in found[1:4]]
    assert [(error["code"], error["line"]) for error in errors] == [("inference", 2), ("bad_line", 3), ("bad_line", 4)]
    assert errors[2]["message"] == "the line, expected an object with query and documents, got query"


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(FakeReranker, "warm_up", lambda _: None, raising=False)
    monkeypatch.setattr(FakeReranker, "info", None, raising=False)
    monkeypatch.setattr(Reranker, "open", lambda *_, **__: FakeReranker())


def test_the_command_prints_one_line_for_each_and_fails_at_the_end(fake):
    lines = '{"query":"q","documents":["a","abc"]}\n{}\n{"query":"q","documents":["ab"]}\n'
    result = CliRunner().invoke(create_app(), ["rerank", "--model", "DIR", "--top-k", "1"], input=lines)
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [[each["index"] for each in line.get("ranking", [])] for line in found] == [[1], [], [0]]
    assert found[1]["error"]["code"] == "bad_line" and found[1]["error"]["line"] == 2


@pytest.mark.parametrize("top_k", ["0", "-1", "1.5"])
def test_the_command_refuses_an_invalid_number_of_documents(fake, top_k):
    result = CliRunner().invoke(create_app(), ["rerank", "--model", "DIR", "--top-k", top_k], input="")
    assert result.exit_code == 2 and "--top-k" in result.output


def test_scores_are_printed_as_the_shortest_digits_of_a_float32():
    reranker = Reranker.open(Model(VALID / "tiny-rerank", variant="fp32"))
    line = Line(1, b'{"query":"big cat","documents":["the dog","a tree"]}')
    ((entry, answer),) = answer_lines(RerankAnswers(reranker), [line], ENTRY)
    printed = [each["score"] for each in json.loads(json_line(answer))["ranking"]]
    assert printed == [float(str(np.float32(each.score))) for each in reranker.rerank(entry.query, entry.documents)]
