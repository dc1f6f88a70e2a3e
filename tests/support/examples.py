"""The artifacts in tests/golden/valid, by family."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import Family, find_family

GOLDEN = Path(__file__).parents[1] / "golden"
VALID = GOLDEN / "valid"


@cache
def examples(families: Iterable[Family] = FAMILIES) -> dict[Family, Path]:
    """Return one valid artifact of each family, for tests that do not depend on a certain family."""
    found: dict[Family, Path] = {}
    for path in sorted(VALID.glob("*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        family = find_family(manifest["task"], manifest["engine"], families)
        if family is not None:
            found.setdefault(family, path.parent)
    return found


def examples_of(task: str) -> dict[Family, Path]:
    """Return the artifacts of all families of one task."""
    return {family: folder for family, folder in examples().items() if family.task == task}
