"""Sealing: an artifact replaces its target atomically, and leftovers of interrupted builds are cleaned up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from examples import examples
from onnx_ml_bridge import BuildError
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.seal import recover, seal, staging_for

EXAMPLE = next(iter(examples().values()))


def names(folder: Path) -> list[str]:
    """Return the names of all entries of a folder except lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_that_appears_during_a_build_is_not_replaced(tmp_path):
    target = tmp_path / "example"
    with pytest.raises(BuildError, match="not an artifact"), staging_for(target) as staging:
        shutil.copytree(EXAMPLE, staging, dirs_exist_ok=True)
        target.mkdir()
        (target / "precious.txt").write_text("mine")
        seal(staging, read_artifact(EXAMPLE).manifest, target)
    assert contents(target) == {"precious.txt": b"mine"}


def test_sealing_an_artifact_again_keeps_its_bytes(tmp_path):
    target = tmp_path / "example"
    artifact = read_artifact(EXAMPLE)
    with staging_for(target) as staging:
        shutil.copytree(EXAMPLE, staging, dirs_exist_ok=True)
        assert seal(staging, artifact.manifest, target) == artifact.identity
    assert contents(target) == contents(EXAMPLE)


def test_sealed_files_are_not_hard_links(tmp_path):
    """Otherwise a program that changes the other file would change the artifact."""
    store, target = shutil.copytree(EXAMPLE, tmp_path / "store"), tmp_path / "artifact"
    with staging_for(target) as staging:
        shutil.copytree(store, staging, dirs_exist_ok=True, copy_function=os.link)
        seal(staging, read_artifact(EXAMPLE).manifest, target)
    assert contents(target) == contents(store) == contents(EXAMPLE)
    assert {path.stat().st_nlink for path in target.rglob("*") if path.is_file()} == {1}


def test_an_interrupted_swap_is_repaired(tmp_path):
    target = tmp_path / "example"
    shutil.copytree(EXAMPLE, tmp_path / ".example.replaced")
    (tmp_path / ".example.staging").mkdir()
    recover(target)
    assert names(tmp_path) == ["example"]
    check_all(read_artifact(target))


def test_a_failed_stage_leaves_no_staging_folder(tmp_path):
    with pytest.raises(RuntimeError), staging_for(tmp_path / "example") as staging:
        (staging / "half").write_text("written")
        raise RuntimeError("stopped")
    assert names(tmp_path) == []


def test_two_builds_of_one_target_are_refused(tmp_path):
    with staging_for(tmp_path / "example") as first:
        (first / "kept").touch()
        with pytest.raises(BuildError, match="another process"), staging_for(tmp_path / "example"):
            pass
        assert (first / "kept").exists()
    with staging_for(tmp_path / "example") as again:
        assert again.exists()


def test_a_swap_that_fails_puts_the_old_artifact_back(tmp_path, monkeypatch):
    target = shutil.copytree(EXAMPLE, tmp_path / "example")
    manifest = read_artifact(target).manifest
    before = contents(target)
    rename = Path.rename

    def failing(self, to):
        if self.name.endswith(".staging"):
            raise OSError("no space")
        return rename(self, to)

    with staging_for(target) as staging:
        for name in manifest.files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes((target / name).read_bytes())
        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="no space"):
            seal(staging, manifest, target)
    assert contents(target) == before
