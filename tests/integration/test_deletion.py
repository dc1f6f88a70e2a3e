"""Every family can be deleted: without the declaration and the modules of one family, the other tests still pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.families import FAMILIES

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_the_other_tests_pass_without(family):
    arguments = ["-p", "without_family", "-p", "no:cacheprovider"]
    files = [
        str(TESTS / "unit"),
        f"--ignore={TESTS / 'unit' / family}",
        str(TESTS / "integration" / "deleted_family.py"),
    ]
    path = os.pathsep.join([str(TESTS / "support"), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *files],
        cwd=TESTS.parent,
        env=os.environ | {"WITHOUT_FAMILY": family, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-2000:]
    assert "passed" in child.stdout
