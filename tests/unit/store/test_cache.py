"""The cache: its limit, what it keeps, and records of names."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from onnx_ml_bridge import BridgeOptions, Embedder
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store.cache import KEPT_SECONDS, MAX_STAGING_SECONDS, Cache, is_offline
from onnx_ml_bridge.artifacts.store.last_use import note_use
from onnx_ml_bridge.runtime import housekeeping
from store_files import sealed_version

DAY = 24 * 3600


def add(cache: Cache, letter: str, size: int, age: float) -> Path:
    """Add a folder to the cache as an artifact that was used `age` seconds ago."""
    path = cache.folder / "artifacts" / (letter * 64)
    path.mkdir(parents=True)
    (path / "data.bin").write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path, max_bytes=1000)


def test_the_artifacts_used_longest_ago_are_removed(cache: Cache):
    oldest, older, newer = add(cache, "a", 600, 9 * DAY), add(cache, "b", 500, 5 * DAY), add(cache, "c", 400, 2 * DAY)
    cache.shrink()
    assert [path.exists() for path in (oldest, older, newer)] == [False, True, True]
    assert not list((cache.folder / ".staging").iterdir())


def test_a_use_keeps_an_artifact(cache: Cache):
    first, second = add(cache, "a", 600, 9 * DAY), add(cache, "b", 600, 5 * DAY)
    assert cache.find("a" * 64) == first
    cache.shrink()
    assert [path.exists() for path in (first, second)] == [True, False]


def test_a_use_of_an_open_artifact_is_noted_in_a_cache_only(cache: Cache):
    first, second = add(cache, "a", 600, 9 * DAY), add(cache, "b", 600, 5 * DAY)
    for name in ("models", ".locks"):
        before = first.stat().st_mtime
        note_use(first)
        assert first.stat().st_mtime == before, "any folder, and a store in a folder"
        (cache.folder / name).mkdir()
    note_use(first)
    assert first.stat().st_mtime == before
    (cache.folder / "models").rmdir()
    note_use(first)
    cache.shrink()
    assert [path.exists() for path in (first, second)] == [True, False]
    note_use(second)


@pytest.fixture
def cached(cache: Cache, tmp_path: Path) -> Path:
    """An artifact in the cache."""
    identity = sealed_version(tmp_path / "made")
    path = cache.folder / "artifacts" / identity
    for folder in (path.parent, cache.folder / ".locks"):
        folder.mkdir()
    return (tmp_path / "made").rename(path)


@pytest.mark.families("sentence_embedding")
def test_each_load_of_a_model_is_a_use_of_its_artifact(cached: Path):
    with Embedder.open(cached, BridgeOptions(threads=1)) as model:
        for _ in range(2):
            os.utime(cached, (0, 0))
            model.warm_up()
            assert cached.stat().st_mtime > time.time() - 60
            model.unload()


@pytest.mark.families("sentence_embedding")
def test_an_artifact_is_in_use_while_its_model_is_loaded(cached: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(housekeeping, "_INTERVAL", 0.02)
    monkeypatch.setattr(housekeeping, "_NOTE_INTERVAL", 0.0)
    with Embedder.open(cached, BridgeOptions(threads=1)) as model:
        model.warm_up()
        os.utime(cached, (0, 0))
        end = time.monotonic() + 30
        while cached.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_artifacts_used_within_a_day_remain(cache: Cache):
    kept = [add(cache, letter, 900, KEPT_SECONDS - 60) for letter in "abc"]
    cache.shrink()
    assert all(path.exists() for path in kept)


def test_artifacts_whose_lock_is_held_remain(cache: Cache):
    path = add(cache, "a", 2000, 9 * DAY)
    with cache.lock("a" * 64):
        cache.shrink()
        assert path.exists()
    cache.shrink()
    assert not path.exists()


def test_old_leftovers_of_downloads_are_removed(cache: Cache):
    old, new = cache.staging("a" * 64), cache.staging("b" * 64)
    for path, age in ((old, MAX_STAGING_SECONDS + 60), (new, 60)):
        path.mkdir(parents=True)
        os.utime(path, (time.time() - age,) * 2)
    (cache.folder / ".locks").mkdir()
    cache.shrink()
    assert (old.exists(), new.exists()) == (False, True)


def test_an_absent_cache_shrinks_and_has_nothing(tmp_path: Path):
    cache = Cache(tmp_path / "absent")
    cache.shrink()
    assert cache.find("a" * 64) is None
    assert cache.resolved("s3://models", "models/a/refs/latest.json") is None
    assert not cache.folder.exists()


def test_records_are_kept_by_store(cache: Cache):
    key = "models/a/refs/latest.json"
    cache.keep_resolved("s3://one", key, b"first")
    cache.keep_resolved("s3://one", key, b"second")
    assert (cache.resolved("s3://one", key), cache.resolved("s3://two", key)) == (b"second", None)


def test_a_folder_that_cannot_be_written_is_a_typed_error(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OnnxMlBridgeError, match="ONNX_ML_BRIDGE_CACHE") as refused, Cache(tmp_path / "file").lock("a"):
        pass
    assert refused.value.code == "io"


def test_the_environment_names_the_folder_and_forbids_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ONNX_ML_BRIDGE_CACHE", str(tmp_path / "mine"))
    assert Cache().folder == tmp_path / "mine"
    monkeypatch.delenv("ONNX_ML_BRIDGE_CACHE")
    assert Cache().folder.name == "onnx-ml-bridge"
    for value, expected in (("1", True), ("true", True), ("", False), ("0", False)):
        monkeypatch.setenv("ONNX_ML_BRIDGE_OFFLINE", value)
        assert is_offline() is expected
