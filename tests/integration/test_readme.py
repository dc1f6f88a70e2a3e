"""The code blocks of README.md run, and print what README.md shows.

rustdoc compiles the Rust block: bridge/src/lib.rs includes README.md in its doc tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_ml_bridge.cli.config import read_models

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\S*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
DIST_VARIABLE = "ONNX_ML_BRIDGE_DIST"
needs_artifacts = pytest.mark.skipif(
    DIST_VARIABLE not in os.environ, reason=f"{DIST_VARIABLE} does not name the folder with the models of models.toml"
)


def blocks(language: str) -> list[str]:
    chosen = [text for name, text in BLOCKS if name.partition(",")[0] == language]
    assert chosen
    return chosen


@pytest.fixture
def folder(tmp_path) -> Path:
    """A new folder whose subfolder `dist` has the artifacts."""
    (tmp_path / "dist").symlink_to(Path(os.environ[DIST_VARIABLE]).absolute())
    return tmp_path


def run(arguments: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        arguments, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def console_commands(block: str) -> list[tuple[str, str]]:
    """Return the commands of a block and the output that it shows for each."""
    parts = re.split(r"^\$ (.+)\n", block, flags=re.MULTILINE)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_it_is_short_and_every_block_has_a_language_that_is_tested():
    assert len(README.splitlines()) <= 120
    assert {name.partition(",")[0] for name, _ in BLOCKS} == {"make", "python", "rust", "console", "toml"}
    assert README.count("```") == 2 * len(BLOCKS) and not re.search(r"\n\n(    |\t)", README)


@needs_artifacts
@pytest.mark.parametrize("block", blocks("python"))
def test_python_prints_what_the_comments_show(block, folder):
    shown = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]
    assert run([sys.executable, "-c", block], folder).splitlines() == shown


@needs_artifacts
@pytest.mark.parametrize(
    ("command", "shown"), [each for block in blocks("console") for each in console_commands(block)]
)
def test_a_command_prints_what_follows_it(command, shown, folder):
    assert shown and run(["bash", "-c", command], folder) == shown


@pytest.mark.parametrize("block", blocks("toml"))
def test_models_files_are_valid(block, tmp_path):
    (tmp_path / "models.toml").write_text(block, encoding="utf-8")
    assert read_models(tmp_path / "models.toml")


def test_the_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [target for block in blocks("make") for target in re.findall(r"^make (\S+)", block, re.MULTILINE)]
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_links_refer_to_existing_files():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_rustdoc_compiles_the_rust_block():
    assert 'include_str!("../../README.md")' in (ROOT / "bridge/src/lib.rs").read_text(encoding="utf-8")
    assert len(blocks("rust")) == 1
