"""Every family can be taken out: the quick tests of all others still pass, and its artifacts are refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deletion import HEAVY, ROOT, STAGES, package_without
from examples import examples
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import Family

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
OPEN = """
import sys
from onnx_ml_bridge import ArtifactError
from onnx_ml_bridge.runtime.loading import open_artifact
try:
    open_artifact(sys.argv[1])
except ArtifactError as error:
    print(error.code, error)
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, dict[str, str]]:
    """Environment variables under which a family does not exist."""
    folders = {family: package_without(family, tmp_path_factory.mktemp(family.name)) for family in FAMILIES}
    return {family: os.environ | {"PYTHONPATH": str(folder)} for family, folder in folders.items()}


def run(environment: dict[str, str], *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@every_family
def test_the_quick_tests_of_the_others_pass(family, environments):
    environment = {name: value for name, value in environments[family].items() if not name.startswith("PYTEST_XDIST")}
    tests, own = ROOT / "tests" / "unit", ROOT / "tests" / "unit" / family.name
    done = run(environment, "-m", "pytest", tests, "--ignore", own, "-q", "--ignore-glob=*test_quantize*","--ignore-glob=*test_bart_f*","--ignore-glob=*spacy_encoder*","-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


@every_family
def test_it_is_gone_and_so_are_heavy_libraries(family, environments):
    modules = [f"onnx_ml_bridge.{stage.replace('/', '.')}.{family.name}" for stage in STAGES]
    for module in (*modules, *HEAVY):
        done = run(environments[family], "-c", f"import {module}")
        assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr, module


@every_family
def test_its_artifact_is_refused_by_name(family, environments):
    folder = examples()[family]
    done = run(environments[family], "-c", OPEN, folder)
    assert done.stdout.startswith(f"unknown_task the artifact's task {family.task!r}"), done.stdout + done.stderr
    for command in ("verify", "show"):
        done = run(environments[family], "-m", "onnx_ml_bridge", command, folder, "--json")
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (3, "unknown_task")
        assert all(other.task in error["message"] for other in FAMILIES if other is not family)
