"""One file for an artifact and its signatures: the same bytes each time, and nothing of a hostile file is accepted."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.errors import ArtifactError, OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.packing import MAX_BUNDLES, pack, unpack
from onnx_ml_bridge.artifacts.trust.keys import PublicKey

pytestmark = pytest.mark.families("sentence_embedding")
GOLDEN = Path(__file__).parents[2] / "golden"
TINY = GOLDEN / "valid" / "tiny-embedding"
Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def packed(tmp_path) -> Path:
    """A packed artifact with the signature of the key of the golden cases."""
    shutil.copytree(TINY, tmp_path / "tiny")
    key = PublicKey.read(GOLDEN / "trust" / "trusted.pub")
    (tmp_path / "tiny.signatures").mkdir()
    shutil.copy(GOLDEN / "trust" / "bundles" / "signed.json", tmp_path / "tiny.signatures" / f"{key.hash}.json")
    pack(tmp_path / "tiny", tmp_path / "tiny.tar")
    return tmp_path / "tiny.tar"


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache")


def members(file: Path) -> Members:
    with tarfile.open(file) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]


def write(file: Path, changed: Members, kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(file, "w", format=kind) as archive:
        for member, content in changed:
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return file


def visible(cache: Cache) -> list[str]:
    folder = cache.folder / "artifacts"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_packed_artifact_is_unpacked_with_its_signature(packed, cache):
    key = PublicKey.read(GOLDEN / "trust" / "trusted.pub")
    artifact = unpack(packed, cache, [key])
    assert artifact.identity == read_artifact(TINY).identity and artifact.root.parent.name == "artifacts"
    assert cache.signature(artifact.identity, key.hash).exists()
    assert unpack(packed, cache).root == artifact.root
    assert list((cache.folder / ".staging").iterdir()) == []


def test_it_has_the_same_bytes_each_time_and_no_owner(packed, tmp_path):
    pack(tmp_path / "tiny", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()
    found = [member for member, _ in members(packed)]
    assert {(each.mtime, each.uid, each.gid, each.uname, each.mode) for each in found} == {(0, 0, 0, "", 0o644)}
    assert found[0].name.endswith("/manifest.json")


def test_without_the_signature_of_a_trusted_key_it_is_refused(packed, cache):
    with pytest.raises(ArtifactError) as caught:
        unpack(packed, cache, [PublicKey.read(GOLDEN / "trust" / "other.pub")])
    assert caught.value.code == "signature" and visible(cache) == []


def with_bundles(file: Path, number: int, target: Path) -> Path:
    """Write a packed artifact with bundles of other keys before its own."""
    found = members(file)
    folder = found[-1][0].name.rpartition("/")[0]
    added = [(tarfile.TarInfo(f"{folder}/{index:064x}.json"), bytes(1 << 20)) for index in range(number)]
    for member, content in added:
        member.size = len(content)
    return write(target, [*found[:-1], *added, found[-1]])


def test_a_file_with_more_than_sixteen_signatures_is_refused(packed, cache, tmp_path):
    assert unpack(with_bundles(packed, MAX_BUNDLES - 1, tmp_path / "many.tar"), cache).identity
    key = PublicKey.read(GOLDEN / "trust" / "trusted.pub")
    for keys in ([], [key]):
        with pytest.raises(ArtifactError, match="at most 16") as caught:
            unpack(with_bundles(packed, MAX_BUNDLES, tmp_path / "more.tar"), Cache(tmp_path / "other"), keys)
        assert caught.value.code == "file_set" and visible(Cache(tmp_path / "other")) == []


def test_with_keys_only_their_signatures_are_kept(packed, cache, tmp_path):
    key = PublicKey.read(GOLDEN / "trust" / "trusted.pub")
    identity = unpack(with_bundles(packed, 3, tmp_path / "many.tar"), cache, [key]).identity
    assert [path.stem for path in cache.signature(identity, key.hash).parent.iterdir()] == [key.hash]


def test_an_artifact_with_more_signatures_is_not_packed(packed, tmp_path):
    for index in range(MAX_BUNDLES):
        (tmp_path / "tiny.signatures" / f"{index:064x}.json").write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="at most 16") as caught:
        pack(tmp_path / "tiny", tmp_path / "more.tar")
    assert caught.value.code == "file_set" and not (tmp_path / "more.tar").exists()


def renamed(name: str) -> Callable[[Members], Members]:
    def change(found: Members) -> Members:
        found[5][0].name = name
        return found

    return change


def of_type(kind: bytes) -> Callable[[Members], Members]:
    def change(found: Members) -> Members:
        found[5][0].type, found[5][0].linkname = kind, "/etc/passwd"
        return found

    return change


def resized(size: int) -> Callable[[Members], Members]:
    def change(found: Members) -> Members:
        found[5][0].size += size
        return [*found[:5], (found[5][0], (found[5][1] + b"x" * 9)[: found[5][0].size]), *found[6:]]

    return change


CHANGES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "absolute": (renamed("/tmp/absolute"), "file_set"),
    "parent": (renamed("artifacts/../../escaped"), "file_set"),
    "another name": (renamed("other"), "file_set"),
    "symbolic link": (of_type(tarfile.SYMTYPE), "path_kind"),
    "hard link": (of_type(tarfile.LNKTYPE), "path_kind"),
    "device": (of_type(tarfile.CHRTYPE), "path_kind"),
    "pipe": (of_type(tarfile.FIFOTYPE), "path_kind"),
    "twice": (lambda found: [*found, found[3]], "file_set"),
    "missing": (lambda found: found[:4] + found[5:], "file_set"),
    "longer": (resized(1), "size"),
    "shorter": (resized(-1), "size"),
    "other content": (lambda found: [*found[:5], (found[5][0], bytes(len(found[5][1]))), *found[6:]], "file_hash"),
    "manifest last": (lambda found: [*found[1:], found[0]], "path_kind"),
    "other manifest": (lambda found: [(found[0][0], bytes(len(found[0][1]))), *found[1:]], "manifest_hash"),
    "empty": (lambda found: [], "path_kind"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_hostile_files_are_refused(packed, cache, tmp_path, name):
    change, code = CHANGES[name]
    hostile = write(tmp_path / "hostile.tar", change(members(packed)))
    with pytest.raises(ArtifactError) as caught:
        unpack(hostile, cache)
    assert caught.value.code == code
    assert visible(cache) == [] and not (tmp_path / "escaped").exists()
    staging = cache.folder / ".staging"
    assert not staging.exists() or list(staging.iterdir()) == []


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_files_are_refused_or_give_the_artifact(packed, tmp_path, data):
    raw = bytearray(packed.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 40_000)))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))])
    cache = Cache(tmp_path / "cache")
    try:
        assert unpack(damaged, cache).identity == read_artifact(TINY).identity
    except OnnxMlBridgeError as error:
        assert error.code in ("path_kind", "manifest_hash", "file_set", "size", "file_hash", "io")
    shutil.rmtree(cache.folder, ignore_errors=True)


def test_files_that_cannot_be_read_or_written(tmp_path, cache):
    for action in (lambda: unpack(tmp_path / "missing.tar", cache), lambda: pack(TINY, tmp_path / "no" / "x.tar")):
        with pytest.raises(OnnxMlBridgeError) as caught:
            action()
        assert caught.value.code == "io"
