"""The benchmark of a model under load: its process, and its ratios."""

import json
import sys
from dataclasses import asdict

import pytest
from examples import VALID

from benchmarks.load import LoadContender, contenders, figures_of_rust, row, runs_of_bulk
from benchmarks.load_worker import Load, LoadFigures

pytestmark = pytest.mark.families("sentence_embedding")
TINY = VALID / "tiny-embedding"
TEXTS = ["the cat", "a dog sleeps", "Ann and Bo"] * 40


def test_a_process_measures_the_figures_of_a_model(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    first = contenders([], [])[0]
    found = first.measure(TINY, "fp32", file, Load(120, runs_of_bulk(TINY, TEXTS), None, callers=4, seconds=2))
    assert found.run_ms > 0 and found.bulk_rate > 0 and found.beside_rate > 0 and found.caller_share > 0
    for times in (found.single_ms, found.caller_ms):
        assert 0 < times[0] <= times[1] <= times[2]


def test_the_contenders_are_this_release_and_those_of_the_command_line():
    found = contenders(["0.1.0=old/python"], ["new=target/load", "other/load"])
    assert [each.name for each in found] == [
        "Python, 1 worker",
        "Python, 2 workers",
        "Python (0.1.0)",
        "Rust (new)",
        "Rust",
    ]
    assert found[0].command[0] == sys.executable and [each.workers for each in found] == [1, 2, None, None, None]
    assert found[2].command[0] == "old/python" and [each.command for each in found[3:]] == [
        ("target/load",),
        ("other/load",),
    ]


def test_a_row_has_the_medians_of_the_ratios_within_each_round():
    def figures(**changed: object) -> LoadFigures:
        base = LoadFigures(10.0, 1000.0, [15.0, 25.0, 40.0], 900.0, [60.0, 100.0, 200.0], 0.85, 3)
        return LoadFigures(**asdict(base) | changed)

    first = [figures(), figures(bulk_rate=500.0), figures(single_ms=[15.0, 90.0, 99.0])]
    contender = LoadContender("Python, 1 worker", "Python", ())
    cells = row(contender, first, first)
    assert cells == ["Python, 1 worker", "10.0", "15.0", "2.50 met", "0.90", "0.85 met", "1.67 met", "1.000", "3"]
    other = [figures(bulk_rate=2000.0), figures(bulk_rate=1000.0), figures(caller_ms=[10.0, 99.0, 99.0])]
    assert row(LoadContender("Python (old)", "Python", ()), other, first)[7] == "2.000"
    cells = row(LoadContender("Rust", "Rust", ()), other, first)
    assert cells[5] == "0.85 missed" and cells[7] == ""


def test_the_figures_of_rust_are_read():
    times = {"p50": 1.0, "p99": 2.0, "max": 3.0, "count": 9}
    found = figures_of_rust(
        {
            "texts": 4096,
            "one_run_ms": times,
            "bulk_s": 4.0,
            "bulk_beside_singles_s": 8.0,
            "single_beside_bulk_ms": times,
            "callers_ms": times,
            "callers_over_bulk": 0.9,
        }
    )
    assert found == LoadFigures(1.0, 1024.0, [1.0, 2.0, 3.0], 512.0, [1.0, 2.0, 3.0], 0.9, None)
