"""The benchmark of memory: its process, and what it makes of the sizes."""

import json
import subprocess
import sys

import pytest
from examples import VALID

from benchmarks.memory.__main__ import cycle_lines, limit_lines, long_lines, measure

MIB = 1 << 20


def are_met(lines):
    return [line.is_met for line in lines]


def test_memory_after_a_long_text_is_compared_with_the_loaded_model():
    found = {"tokens": 8000, "loaded": 100 * MIB, "peak": 7000 * MIB}
    (line,) = long_lines(found | {"after": 120 * MIB})
    assert (line.what, line.is_met) == ("text of 8000 tokens", True)
    assert line.figure == "100 → 120 MiB, 1.20 times, peak 7000 MiB"
    assert are_met(long_lines(found | {"after": 121 * MIB})) == [False]


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
    lines = measure(command, {"measure": "cycles", "bridge": str(bridge), "cycles": 3})
    assert [line.what for line in lines] == ["tiny: given back", "tiny: growth"]
    with pytest.raises(subprocess.CalledProcessError):
        measure(command, {"measure": "cycles", "bridge": str(tmp_path / "absent.toml"), "cycles": 1})
