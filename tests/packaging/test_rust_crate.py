"""Cargo.toml states what the crate's dependencies require, and pins.txt the versions that the tests run with."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CRATE = ROOT / "bridge"


def cargo(*arguments: str) -> str:
    done = subprocess.run(["cargo", *arguments], cwd=CRATE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cargo_toml() -> dict:
    return tomllib.loads((CRATE / "Cargo.toml").read_text())


@pytest.fixture(scope="module", autouse=True)
def _pinned() -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "rust_pins.py"], check=True)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in (text + ".0.0").split(".")[:3])


def test_the_rust_version_is_the_largest_of_the_dependencies(cargo_toml):
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    required = {package["name"]: version(package["rust_version"] or "1") for package in packages if package["source"]}
    assert version(cargo_toml["package"]["rust-version"]) == max(required.values())


def test_every_requirement_but_that_of_ort_accepts_newer_compatible_versions(cargo_toml):
    for table in ("dependencies", "dev-dependencies"):
        for name, value in cargo_toml[table].items():
            requirement = value if isinstance(value, str) else value["version"]
            assert requirement.startswith("=") == (name == "ort"), name
            assert requirement.lstrip("=")[0].isdigit(), name


def test_the_command_is_not_a_default_feature(cargo_toml):
    assert "cli" not in cargo_toml["features"]["default"]
    default = cargo("tree", "--edges", "normal", "--prefix", "none")
    assert "clap v" not in default
    assert "clap v" in cargo("tree", "--edges", "normal", "--prefix", "none", "--features", "cli")


def test_the_bundled_build_downloads_and_links_the_library():
    features = ["--no-default-features", "--features", "bundled families"]
    tree = cargo("tree", *features, "--prefix", "none", "--format", "{p} {f}")
    (ort,) = {line for line in tree.splitlines() if line.startswith("ort-sys v") and not line.endswith("(*)")}
    assert "download-binaries" in ort
    assert "tls-rustls" in ort
    assert "disable-linking" not in ort  # what load-dynamic enables


def test_pins_name_no_host():
    lines = (CRATE / "pins.txt").read_text().splitlines()
    assert all(line.startswith("#") or (len(line.split()) == 2 and "/" not in line) for line in lines)
