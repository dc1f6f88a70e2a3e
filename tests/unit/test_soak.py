"""The verdict of the soak test about samples of a process."""

import pytest
from examples import VALID
from onnx_ml_bridge.runtime.bridge_config import read_bridge_config

from benchmarks.inputs import write_bridge
from benchmarks.soak.__main__ import Sample, growth

MIB = 1 << 20


def samples(resident, threads=lambda second: 9, files=lambda second: 5):
    return [Sample(int(resident(second)), threads(second), files(second)) for second in range(100)]


@pytest.mark.parametrize(
    ("found", "is_met"),
    [
        (samples(lambda second: 300 * MIB), True),
        (samples(lambda second: (100 if second < 20 else 300) * MIB), True),  # the warm-up does not count
        (samples(lambda second: 300 * MIB + second * 0.19 * MIB), True),
        (samples(lambda second: 300 * MIB + second * 0.3 * MIB), False),
        (samples(lambda second: 2000 * MIB + second * 0.3 * MIB), True),  # within 2 %
        (samples(lambda second: 300 * MIB, threads=lambda second: 9 + second // 30), False),
        (samples(lambda second: 300 * MIB, files=lambda second: 5 + second // 30), False),
        (samples(lambda second: (900 if second == 90 else 300) * MIB), True),  # one peak is no growth
    ],
)
def test_growth_is_judged_from_the_warm_up_to_the_end(found, is_met):
    assert growth(found).is_met is is_met


def test_the_bridge_opens_all_artifacts_of_a_folder(tmp_path):
    write_bridge(VALID, tmp_path / "bridge.toml")
    models = read_bridge_config(tmp_path / "bridge.toml").models
    assert {model.path for model in models} == {folder.parent.resolve() for folder in VALID.glob("*/manifest.json")}
