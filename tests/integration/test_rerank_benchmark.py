"""The benchmark of rankings with a small model: workers with the original and this project rank the same queries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples import VALID
from onnx_ml_bridge.artifacts.checks import read_artifact

from benchmarks.contenders import Releases
from benchmarks.machine import RealMachine
from benchmarks.tasks import rerank
from benchmarks.workload import Request, Workload

TINY = VALID / "tiny-rerank"
PYTHON = ("onnx-ml-bridge fp32, Python", "onnx-ml-bridge int8, Python")
RUST = ("onnx-ml-bridge fp32, Rust", "onnx-ml-bridge int8, Rust")


@pytest.fixture
def workload(tmp_path) -> Workload:
    releases = Releases(binaries={"": "binary"})
    request = Request((TINY,), tmp_path, 2, releases=releases, peers=False, texts=10)
    (prepared,) = rerank.prepare(request)
    return prepared


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_call_has_one_query(workload):
    few, many = workload.settings
    assert (few.batch, many.batch) == (1, 1)
    assert (len(few.files), few.units) == (3, (200, 200, 200)) and many.units == (200, 200, 200)
    assert [len(each["documents"]) for each in lines(few.files[0])] == [20] * 10
    assert [len(each["documents"]) for each in lines(many.files[0])] == [100] * 2
    assert lines(workload.first) == lines(few.files[0])[:1]
    assert workload.facts["queries"] == 10 and workload.facts["max tokens of a pair"] == 48


def test_every_variant_is_a_contender_in_both_languages(workload):
    assert {each.name for each in workload.contenders} == {*PYTHON, *RUST}
    assert {each.process.command for each in workload.contenders if each.name in RUST} == {"rerank"}
    assert all(each.disk_bytes > 0 for each in workload.contenders)


def test_workers_rank_the_queries(workload, tmp_path):
    machine, answers = RealMachine(tmp_path), {}
    for contender in workload.contenders:
        if contender.name in PYTHON:
            runner = machine.start(contender)
            try:
                assert runner.time(workload.settings[0].files[0], 1).outputs == 200
                answers[contender.name] = runner.answers(workload.quality_texts)
            finally:
                runner.close()
    compared = rerank.compare_rankings(answers[PYTHON[1]], answers[PYTHON[0]])
    gate = read_artifact(TINY).manifest.variants["int8"].gate
    assert gate["kendall_tau"] <= compared["kendall_tau"] < 1 and 0 < compared["top_1"] <= 1
