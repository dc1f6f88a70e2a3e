"""The wheel combines the top-level folders of the repository to one package."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("artifacts", "cli", "export", "graphs", "parity", "quantize", "runtime")


@pytest.fixture(scope="module")
def unpacked(package_source, tmp_path_factory) -> Path:
    """A folder with the files that the wheel installs into site-packages."""
    target = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target)]
    subprocess.run([*line, str(package_source)], check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    zipfile.ZipFile(path).extractall(target / "unpacked")
    return target / "unpacked"


def test_the_wheel_contains_only_the_package(unpacked):
    assert {path.name for path in unpacked.iterdir()} == {"onnx_ml_bridge", "onnx_ml_bridge-0.1.0.dist-info"}


def test_the_wheel_contains_every_module_and_data_file(unpacked):
    for folder in FOLDERS:
        tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in tracked.stdout.split():
            assert (unpacked / "onnx_ml_bridge" / name).read_bytes() == (ROOT / name).read_bytes()
    assert (unpacked / "onnx_ml_bridge" / "py.typed").exists()


def test_stages_import_only_allowed_modules(unpacked):
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", ROOT / "pyproject.toml"]
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
