"""Publishing, tags, yanked versions and garbage in a store, and what races and damage do to them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx_ml_bridge import Store
from onnx_ml_bridge.artifacts.errors import ArtifactError, ConfigError, StoreError
from onnx_ml_bridge.artifacts.store.folder import FolderBackend
from onnx_ml_bridge.artifacts.store.layout import artifact_key, tag_key, version_key
from onnx_ml_bridge.artifacts.store.records import TagRecord
from store_files import NAME, sealed_version

pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def version(tmp_path) -> Callable[..., Path]:
    """The function `version(number)`, which returns the folder of an artifact with this version."""

    def make(number: str = "1.0.0", **files: bytes) -> Path:
        folder = tmp_path / f"artifact-{number}-{len(files)}"
        if not folder.exists():
            sealed_version(folder, number, files)
        return folder

    return make


def code(action: Callable[[], object]) -> str:
    with pytest.raises((StoreError, ArtifactError, ConfigError)) as caught:
        action()
    return caught.value.code


def age(root: Path, seconds: float) -> None:
    for parent, _, names in os.walk(root):
        for name in names:
            os.utime(Path(parent, name), (time.time() - seconds,) * 2)


def test_the_life_of_a_model(store, version):
    assert store.models() == []
    first = store.publish(version("1.0.0"), tags=["latest", "stable"])
    second = store.publish(version("1.10.0"), tags=["latest"])
    store.publish(version("1.9.0"))
    store.publish(version("2.0.0-rc.1"))
    assert store.models() == [NAME]
    assert [each.version for each in store.versions(NAME)] == ["1.0.0", "1.9.0", "1.10.0", "2.0.0-rc.1"]
    assert [(each.tag, each.version, each.revision) for each in store.tags(NAME)] == [
        ("latest", "1.10.0", 2),
        ("stable", "1.0.0", 1),
    ]
    assert store.resolve(NAME).identity == second.identity
    assert store.resolve(f"{NAME}@stable").identity == first.identity
    assert [each.version for each in store.updates(f"{NAME}@stable")] == ["1.9.0", "1.10.0"]
    assert [each.version for each in store.updates(f"{NAME}@2.0.0-alpha")] == ["2.0.0-rc.1"]
    assert store.promote(NAME, "1.9.0", "stable", if_current="1.0.0").revision == 2
    assert store.promote(NAME, "1.9.0", "stable").revision == 2
    assert code(lambda: store.promote(NAME, "1.10.0", "stable", if_current="1.0.0")) == "conflict"
    assert code(lambda: store.promote(NAME, "1.10.0", "new", if_current="1.0.0")) == "conflict"
    assert store.rollback(NAME, "stable").version == "1.0.0"
    assert code(lambda: store.rollback(NAME, "stable")) == "not_found"
    assert code(lambda: store.rollback(NAME, "unknown")) == "not_found"
    store.yank(NAME, "1.9.0")
    store.yank(NAME, "1.9.0")
    assert [each.version for each in store.versions(NAME)] == ["1.0.0", "1.10.0", "2.0.0-rc.1"]
    assert code(lambda: store.resolve(f"{NAME}@1.9.0")) == "not_found"
    assert code(lambda: store.promote(NAME, "1.9.0", "stable")) == "not_found"
    assert code(lambda: store.publish(version("1.9.0"))) == "exists"
    assert code(lambda: store.yank(NAME, "1.10.0")) == "conflict"
    assert code(lambda: store.yank(NAME, "7.0.0")) == "not_found"


def test_rolling_back_twice_goes_back_two_versions_and_passes_over_yanked_ones(store, version):
    for number in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        store.publish(version(number), tags=["stable"])
    store.yank(NAME, "1.1.0")
    assert store.rollback(NAME, "stable").version == "1.2.0"
    assert store.rollback(NAME, "stable").version == "1.0.0"
    assert store.tags(NAME)[0].revision == 6


def test_publishing_again_changes_nothing_and_another_artifact_is_refused(store, version, tmp_path):
    assert store.publish(version()).is_new
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert not store.publish(version()).is_new
    assert code(lambda: store.publish(version(extra=b"other"))) == "exists"
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before


def test_publishing_again_repairs_what_was_damaged(store, version, tmp_path):
    published = store.publish(version())
    graph = tmp_path / "store" / artifact_key(published.identity, "onnx/model.onnx")
    for damage in (lambda: graph.unlink(), lambda: graph.write_bytes(b"x" * graph.stat().st_size)):
        damage()
        assert code(lambda: store.pull(f"{NAME}@1.0.0")) in ("file_set", "file_hash")
        store.publish(version())
        assert store.pull(f"{NAME}@1.0.0") == graph.parents[1]


def test_what_cannot_be_published(store, version, tmp_path):
    assert code(lambda: store.publish(tmp_path / "missing")) == "path_kind"
    assert code(lambda: store.publish(version("1.0"))) == "config"
    assert code(lambda: store.publish(version("1.0.0+build"))) == "config"
    assert code(lambda: store.publish(version(), tags=["1.0.0"])) == "config"
    damaged = shutil.copytree(version(), tmp_path / "damaged")
    (damaged / "onnx" / "model.onnx").write_bytes(b"x" * (damaged / "onnx" / "model.onnx").stat().st_size)
    assert code(lambda: store.publish(damaged)) == "file_hash"
    assert store.models() == []


def test_signatures_beside_an_artifact_are_published(store, version, tmp_path):
    folder = version()
    bundles = folder.with_name(f"{folder.name}.signatures")
    bundles.mkdir()
    (bundles / f"{'ab' * 32}.json").write_bytes(b"{}")
    published = store.publish(folder)
    assert (tmp_path / "store/signatures" / published.identity / f"{'ab' * 32}.json").read_bytes() == b"{}"


# -- Conditional writes


class Racing(FolderBackend):
    """Lets another writer act right before the next conditional write."""

    def __init__(self, root: Path, other: Callable[[], object]) -> None:
        super().__init__(root)
        self._others = [other]

    def put_if_absent(self, key: str, content: bytes) -> bool:
        self._race()
        return super().put_if_absent(key, content)

    def replace(self, key: str, content: bytes, etag: str | None) -> bool:
        self._race()
        return super().replace(key, content, etag)

    def _race(self) -> None:
        while self._others:
            self._others.pop()()


class Unconditional(Racing):
    """Racing writes without their conditions."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        self._race()
        self.put(key, content)
        return True

    def replace(self, key: str, content: bytes, etag: str | None) -> bool:
        return self.put_if_absent(key, content)


def lost_publish(kind: type[Racing], root: Path, version: Callable[..., Path]) -> bool:
    """Whether a version that was published is overwritten by another publisher of the same number."""
    one, other = Store(root), Store(root)
    one._reader = kind(root, lambda: other.publish(version(extra=b"other")))
    try:
        one.publish(version())
    except StoreError as error:
        assert error.code == "exists"
    identity = json.loads((root / version_key(NAME, "1.0.0")).read_bytes())["identity"]
    return (root / artifact_key(identity, "extra")).exists() is False


def lost_move(kind: type[Racing], root: Path, version: Callable[..., Path]) -> bool:
    """Whether a move of a tag is overwritten by one that did not see it."""
    store, other = Store(root), Store(root)
    for number in ("1.0.0", "1.1.0", "1.2.0"):
        store.publish(version(number))
    store.promote(NAME, "1.0.0", "stable")
    store._reader = kind(root, lambda: other.promote(NAME, "1.1.0", "stable"))
    try:
        store.promote(NAME, "1.2.0", "stable")
    except StoreError as error:
        assert error.code == "conflict"
    record = TagRecord.from_bytes((root / tag_key(NAME, "stable")).read_bytes(), "k")
    return "1.1.0" not in (record.version, *record.previous)


@pytest.mark.parametrize("lost", [lost_publish, lost_move])
def test_no_racing_write_is_lost_and_without_the_condition_one_is(lost, tmp_path, version):
    assert not lost(Racing, tmp_path / "conditional", version)
    assert lost(Unconditional, tmp_path / "unconditional", version)


def test_a_version_that_is_promoted_while_it_is_yanked_keeps_its_files(store, version, tmp_path):
    published = store.publish(version())
    root = tmp_path / "store"
    store._reader = Racing(root, lambda: Store(root).promote(NAME, "1.0.0", "stable"))
    store.yank(NAME, "1.0.0")
    age(root, 100)
    assert store.gc(grace=50).artifacts == ()
    assert (root / artifact_key(published.identity, "manifest.json")).exists()


# -- Garbage


def test_gc_deletes_what_nothing_names_after_the_grace_period(store, version, tmp_path):
    root = tmp_path / "store"
    first = store.publish(version("1.0.0"), tags=["stable"])
    second = store.publish(version("1.1.0"))
    (root / "signatures" / second.identity).mkdir(parents=True)
    (root / "signatures" / second.identity / f"{'ab' * 32}.json").write_bytes(b"{}")
    interrupted = root / ".staging" / "1b4e"
    shutil.copytree(version(), interrupted)
    store.yank(NAME, "1.1.0")
    assert store.gc().artifacts == ()
    age(root / "artifacts", 8 * 24 * 3600)
    assert store.gc().artifacts == (), "somebody may be downloading a version that was just yanked"
    age(root, 8 * 24 * 3600)
    assert store.gc(dry_run=True).artifacts == (second.identity,)
    assert (root / artifact_key(second.identity)).exists() and interrupted.exists()
    collected = store.gc()
    assert collected.artifacts == (second.identity,) and collected.leftovers == (".staging/1b4e",)
    assert not (root / artifact_key(second.identity)).exists() and not interrupted.exists()
    assert not (root / "signatures" / second.identity).exists()
    assert store.pull(f"{NAME}@stable").name == first.identity
    assert store.gc() == store.gc(dry_run=True)


def test_gc_keeps_an_old_artifact_that_is_published_again(store, version, tmp_path):
    root = tmp_path / "store"
    published = store.publish(version())
    (root / version_key(NAME, "1.0.0")).unlink()
    age(root, 8 * 24 * 3600)
    store._reader.put_artifact(version(), published.identity, ())
    assert store.gc().artifacts == ()


def test_gc_reads_the_records_right_before_it_deletes(store, version, tmp_path):
    root = tmp_path / "store"
    published = store.publish(version())
    record = (root / version_key(NAME, "1.0.0")).read_bytes()
    (root / version_key(NAME, "1.0.0")).unlink()
    age(root, 8 * 24 * 3600)

    class Named(FolderBackend):
        def get(self, key: str, limit: int):
            if key == artifact_key(published.identity, "manifest.json"):
                (self.root / version_key(NAME, "1.0.0")).write_bytes(record)
            return super().get(key, limit)

    store._reader = Named(root)
    assert store.gc().artifacts == ()
    assert store.pull(f"{NAME}@1.0.0").name == published.identity


def test_gc_lists_the_versions_as_often_for_many_artifacts_as_for_one(store, version, tmp_path):
    root, listed = tmp_path / "store", []

    class Listed(FolderBackend):
        def entries(self, prefix: str):
            listed.append(prefix)
            return super().entries(prefix)

    store._reader = Listed(root)
    for count in (1, 8):
        for number in range(count):
            store.publish(version(f"{count}.{number}.0"))
            store.yank(NAME, f"{count}.{number}.0")
        age(root, 8 * 24 * 3600)
        listed.clear()
        assert len(store.gc().artifacts) == count
        assert listed.count("models") == 2, "once for the records, once for what interrupted writes left"


@pytest.mark.parametrize("content", [None, b"[]", b"{", b'{"name": "../refs", "version": "1.0.0"}'])
def test_gc_deletes_an_old_artifact_without_a_valid_manifest(store, version, tmp_path, content):
    root, published = tmp_path / "store", store.publish(version())
    (root / version_key(NAME, "1.0.0")).unlink()
    manifest = root / artifact_key(published.identity, "manifest.json")
    manifest.unlink() if content is None else manifest.write_bytes(content)
    age(root, 8 * 24 * 3600)
    assert store.gc().artifacts == (published.identity,)


# -- Other content of a store


def test_invalid_records_and_other_files_are_not_silent(store, version, tmp_path):
    root = tmp_path / "store"
    store.publish(version(), tags=["stable"])
    (root / "models" / NAME / "versions" / ".1.1.0.json.x.tmp").write_bytes(b"half")
    (root / "models" / NAME / "versions" / "notes.txt").write_bytes(b"mine")
    (root / "models" / "README").write_bytes(b"mine")
    assert [each.version for each in store.versions(NAME)] == ["1.0.0"]
    (root / tag_key(NAME, "broken")).write_bytes(b"{}")
    for action in (lambda: store.tags(NAME), lambda: store.resolve(f"{NAME}@broken"), lambda: store.gc()):
        assert code(action) == "store"


def test_symbolic_links_are_refused(store, version, tmp_path):
    root = tmp_path / "store"
    store.publish(version(), tags=["stable"])
    record = root / tag_key(NAME, "stable")
    record.rename(tmp_path / "elsewhere.json")
    record.symlink_to(tmp_path / "elsewhere.json")
    assert code(lambda: store.resolve(f"{NAME}@stable")) == "store"


def test_an_offline_store_is_not_asked(tmp_path, version):
    Store(tmp_path / "store").publish(version(), tags=["stable"])
    store = Store(tmp_path / "store", cache=tmp_path / "cache", offline=True)
    for action in (lambda: store.versions(NAME), lambda: store.publish(version()), lambda: store.models()):
        assert code(action) == "offline"


def test_names_are_checked(store):
    for action in (
        lambda: store.versions("../x"),
        lambda: store.tags(""),
        lambda: store.promote("a/b", "1.0.0", "x"),
        lambda: store.yank("Upper", "1.0.0"),
        lambda: store.rollback(NAME, "1.0.0"),
    ):
        assert code(action) == "config"
    assert code(lambda: store.versions("unknown")) == "not_found"
