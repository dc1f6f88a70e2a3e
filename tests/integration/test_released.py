"""Artifacts of released versions: every later version opens and verifies them; they are never built again."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import GOLDEN
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.runtime.verify import verify

RELEASED = GOLDEN / "released"
ARTIFACTS = sorted(path.parent for path in RELEASED.glob("*/*/manifest.json"))


def test_every_family_of_the_first_release_is_there():
    names = {path.name for path in ARTIFACTS if path.parent.name == "0.1.0"}
    assert names == {"tiny-embedding", "tiny-ner", "tiny-spacy", "tiny-summary"}


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_released_artifact_verifies(artifact: Path):
    report = verify(artifact)
    assert set(report.variants) == set(read_artifact(artifact).manifest.variants)
    assert all(replay.cases > 0 for replay in report.variants.values())
