"""Gates: which metrics miss their thresholds, and thresholds of metrics that were not measured."""

from __future__ import annotations

import pytest
from onnx_ml_bridge import BuildError
from onnx_ml_bridge.artifacts.facts import headline_row
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import Metric, gate_misses
from onnx_ml_bridge.parity.proof import check_gate

METRICS = (Metric("differing", "Any", "inputs", is_upper_bound=True), Metric("share", "Any", "inputs"))

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"differing": 2.0, "share": 0.9}, []),  # a value equal to its threshold passes
        ({"differing": 3.0, "share": 0.9}, ["differing is 3, expected <= 2"]),
        ({"differing": 3.0, "share": 0.8}, ["differing is 3, expected <= 2", "share is 0.8, expected >= 0.9"]),
        ({"differing": float("nan"), "share": 1.0}, ["differing is nan, expected <= 2"]),
        ({"share": float("nan")}, ["share is nan, expected >= 0.9"]),
        ({}, []),
    ],
)
def test_thresholds_are_upper_or_lower_bounds(figures, expected):
    assert gate_misses(METRICS, figures, {"differing": 2, "share": 0.9}) == expected


def test_a_gate_on_a_metric_that_was_not_measured_is_a_config_error():
    with pytest.raises(BuildError, match="share") as refused:
        check_gate(METRICS, {"differing": 0.0}, {"differing": 0, "share": 0.9})
    assert refused.value.code == "config"


@every_family
def test_default_gates_use_only_metrics_of_their_family(family):
    assert "fp32" in family.gates
    assert {name for gate in family.gates.values() for name in gate} <= {metric.name for metric in family.metrics}


@every_family
def test_the_headline_shows_the_metrics_that_were_measured(family):
    metrics = [metric if metric.per_option is None else metric.at("64") for metric in family.metrics]
    figures = {metric.name: 0.5 for metric in metrics}
    expected = [f"{metric.title} {0.5:{metric.format}}" for metric in metrics if metric.title]
    assert expected and headline_row(family, figures) == ", ".join(expected)
    assert headline_row(family, {metric.name: None for metric in metrics}) == ""
