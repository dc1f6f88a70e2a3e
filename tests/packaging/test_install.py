"""The installation without the extra [export] is small, and can run and verify artifacts."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "golden" / "valid" / "tiny-embedding"
LIMIT = 250_000_000


@pytest.fixture(scope="module")
def runtime_only(package_source, tmp_path_factory) -> Path:
    """A fresh environment with the base install and the extra [cpu]."""
    folder = tmp_path_factory.mktemp("runtime")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    install = [sys.executable, "-m", "pip", "--python", str(folder / "venv"), "install", "-q", "--no-cache-dir"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), f"{package_source}[cpu]"], check=True)
    return folder / "venv"


def test_it_is_small(runtime_only):
    assert sum(path.lstat().st_size for path in runtime_only.rglob("*") if not path.is_dir()) < LIMIT


def test_it_runs_and_verifies_artifacts(runtime_only):
    command = runtime_only / "bin" / "onnx-ml-bridge"
    done = subprocess.run([command, "verify", TINY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [command, "embed", "--model", TINY], input='"the cat"\n', capture_output=True, text=True, check=True
    )
    assert '"embedding"' in done.stdout


def test_a_build_without_the_extra_names_it(runtime_only):
    command = runtime_only / "bin" / "onnx-ml-bridge"
    done = subprocess.run([command, "build", ROOT / "models.toml"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install 'onnx-ml-bridge[export,cpu]'" in " ".join(done.stderr.split())
