"""Golden cases of rerankers: records with missing or wrong members are refused."""

from __future__ import annotations

import copy

import pytest
from onnx_ml_bridge.artifacts.families.rerank import ExpectedScore, RerankCase

CASE = RerankCase("q", ("a", ""), (ExpectedScore(0.5, 7, False), ExpectedScore(-1.25, 0, True)))
RECORD = {
    "input": {"query": "q", "documents": ["a", ""]},
    "expected": [
        {"score": 0.5, "tokens": 7, "truncated": False},
        {"score": -1.25, "tokens": 0, "truncated": True},
    ],
}


def test_a_case_is_unchanged_after_writing_and_reading_it():
    assert CASE.to_record() == RECORD
    assert RerankCase.from_record(copy.deepcopy(RECORD)) == CASE


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("input",), None),
        (("input",), {"query": "q"}),
        (("input", "query"), 1),
        (("input", "query"), None),
        (("input", "more"), 1),
        (("input", "documents"), "ab"),
        (("input", "documents"), ["a"]),
        (("input", "documents"), ["a", 1]),
        (("input", "documents"), None),
        (("expected",), None),
        (("expected",), [1, 2]),
        (("expected", 0, "score"), "0.5"),
        (("expected", 0, "score"), True),
        (("expected", 0, "score"), None),
        (("expected", 0, "tokens"), 7.0),
        (("expected", 0, "tokens"), True),
        (("expected", 0, "tokens"), -1),
        (("expected", 0, "truncated"), 0),
        (("expected", 0, "more"), 1),
        (("more",), 1),
    ],
    ids=str,
)
def test_other_values_are_refused(path, value):
    record = copy.deepcopy(RECORD)
    target = record
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises((ValueError, KeyError, TypeError)):
        RerankCase.from_record(record)


@pytest.mark.parametrize("path", [("input",), ("input", "query"), ("input", "documents"), ("expected",)], ids=str)
def test_missing_keys_are_refused(path):
    record = copy.deepcopy(RECORD)
    target = record
    for key in path[:-1]:
        target = target[key]
    del target[path[-1]]
    with pytest.raises(KeyError):
        RerankCase.from_record(record)


@pytest.mark.parametrize("key", ["score", "tokens", "truncated"])
def test_missing_expected_values_are_refused(key):
    record = copy.deepcopy(RECORD)
    del record["expected"][1][key]
    with pytest.raises(TypeError):
        RerankCase.from_record(record)


def test_a_case_has_documents():
    with pytest.raises(ValueError, match="unknown keys"):
        RerankCase.from_record({"input": {"query": "q", "documents": []}, "expected": []})
