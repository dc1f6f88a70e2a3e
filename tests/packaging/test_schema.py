"""The composed schema of all families, which other readers use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.schema import compose_schema

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["artifacts/manifest.schema.json", "bridge/src/artifact/manifest.schema.json"])
def test_the_file_is_the_composed_schema_of_all_families(path):
    assert json.loads((ROOT / path).read_bytes()) == compose_schema(FAMILIES)
