"""One importable package from folders that stand at the top of the repository."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("artifacts", "cli", "export", "parity", "quantize", "runtime")


@pytest.fixture(scope="module")
def wheel(package_source, tmp_path_factory) -> list[str]:
    target = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target)]
    subprocess.run([*line, str(package_source)], check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


def test_the_wheel_ships_the_package_alone(wheel):
    assert {name.split("/")[0] for name in wheel} == {"onnx_ml_bridge", "onnx_ml_bridge-0.1.0.dist-info"}


def test_the_wheel_ships_every_module_and_data_file(wheel):
    for folder in FOLDERS:
        tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in tracked.stdout.split():
            assert f"onnx_ml_bridge/{name}" in wheel
    assert "onnx_ml_bridge/py.typed" in wheel


def test_stages_import_what_they_may():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
