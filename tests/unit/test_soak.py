"""The verdict of the soak test about samples of a process."""

import pytest
from examples import VALID
from onnx_ml_bridge.runtime.bridge_config import read_bridge_config

from benchmarks.inputs import write_bridge
from benchmarks.soak.__main__ import Sample, growth, rests

MIB = 1 << 20


SECONDS = 100.0
FIRST, LAST = rests(SECONDS)


def samples(resident, threads=lambda second: 9, files=lambda second: 5):
    """Samples of a process that is under load for `SECONDS` between two rests."""
    return [Sample(second, int(resident(second)), threads(second), files(second)) for second in range(int(LAST[1]))]


def at_rest(second):
    return FIRST[0] + 80 <= second < FIRST[1] or second >= LAST[0] + 80


@pytest.mark.parametrize(
    ("found", "is_met"),
    [
        (samples(lambda second: 300 * MIB), True),
        (samples(lambda second: (100 if second < FIRST[0] else 300) * MIB), True),  # the warm-up does not count
        (samples(lambda second: (300 if at_rest(second) else 300 + second) * MIB), True),  # nor do calls that run
        (samples(lambda second: (900 if second % 3 == 0 else 300) * MIB), True),  # nor peaks
        (samples(lambda second: 300 * MIB, threads=lambda second: 9 if at_rest(second) else second), True),
        (samples(lambda second: (300 if second < LAST[0] else 315.9) * MIB), True),
        (samples(lambda second: (300 if second < LAST[0] else 316.1) * MIB), False),
        (samples(lambda second: (2000 if second < LAST[0] else 2039) * MIB), True),  # within 2 %
        (samples(lambda second: 300 * MIB, threads=lambda second: 9 + (second > LAST[0])), False),
        (samples(lambda second: 300 * MIB, files=lambda second: 5 + (second > LAST[0])), False),
    ],
)
def test_growth_is_judged_after_the_warm_up(found, is_met):
    assert growth(found, SECONDS).is_met is is_met


def test_the_bridge_opens_all_artifacts_of_a_folder(tmp_path):
    write_bridge(VALID, tmp_path / "bridge.toml")
    models = read_bridge_config(tmp_path / "bridge.toml").models
    assert {model.path for model in models} == {folder.parent.resolve() for folder in VALID.glob("*/manifest.json")}
