"""The benchmark of memory: its process, and what it makes of the sizes."""

import json
import subprocess
import sys

import pytest
from examples import VALID

from benchmarks.memory.__main__ import Measure, batch_lines, cycle_lines, limit_lines, long_lines, run

MIB = 1 << 20


def are_met(lines):
    return [line.is_met for line in lines]


def test_memory_of_a_long_text_is_compared_with_the_loaded_model():
    found = {"tokens": 8000, "loaded": 100 * MIB, "peak": 1000 * MIB, "before": 60 * MIB, "vector": [1.0, 0.5]}
    peak, after, difference = long_lines(found | {"after": 80 * MIB}, [1.0, 0.500009])
    assert (peak.what, peak.figure) == ("text of 8000 tokens: peak", "900 MiB above the model")
    assert after.figure == "100 → 120 MiB, 1.20 times" and difference.figure == "9.0e-06"
    assert are_met([peak, after, difference]) == [True, True, True]
    found |= {"peak": 1054 * MIB, "after": 81 * MIB}
    assert are_met(long_lines(found, [1.0, 0.50002])) == [False, False, False]
    assert len(long_lines(found)) == 2


def test_vectors_in_a_batch_are_compared_with_those_alone():
    lines = batch_lines({"tokens": [8192, 5000], "differences": [9e-7, 1.1e-6]})
    assert [(line.what, line.figure, line.is_met) for line in lines] == [
        ("text of 8192 tokens", "9.0e-07", True),
        ("text of 5000 tokens", "1.1e-06", False),
    ]


def test_growth_is_compared_with_the_limit_and_wrong_answers_are_missed():
    found = {"each": 90 * MIB, "limit": 360 * MIB, "calls": 10, "right": 10, "grown": 390 * MIB}
    assert are_met(limit_lines(found)) == [True, True]
    assert are_met(limit_lines(found | {"grown": 400 * MIB, "right": 9})) == [False, False]


def test_cycles_count_from_the_second_one_on():
    first, met = (0, 100 * MIB, 60 * MIB), (60 * MIB, 160 * MIB, 62 * MIB)
    assert are_met(cycle_lines({"a": [first, met, met]})) == [True, True]
    assert are_met(cycle_lines({"a": [first, met, (60 * MIB, 160 * MIB, 71 * MIB)]})) == [True, False]
    kept = (60 * MIB, 160 * MIB, 80 * MIB)
    assert are_met(cycle_lines({"a": [first, kept, kept]})) == [False, True]


@pytest.mark.families("sentence_embedding")
def test_the_process_measures_a_model_in_cycles(tmp_path):
    bridge = tmp_path / "bridge.toml"
    bridge.write_text(f"[models.tiny]\npath = {json.dumps(str(VALID / 'tiny-embedding'))}\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.memory.worker"]
    config = {"measure": "cycles", "bridge": str(bridge), "cycles": 3}
    lines = run(command, Measure("cycles", config, cycle_lines))
    assert [line.what for line in lines] == ["tiny: given back", "tiny: growth"]
    with pytest.raises(subprocess.CalledProcessError):
        run(command, Measure("cycles", config | {"bridge": str(tmp_path / "absent.toml")}, cycle_lines))
