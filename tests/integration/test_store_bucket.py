"""The writing methods of buckets, against an S3 server."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.errors import StoreError
from onnx_ml_bridge.artifacts.store import remote
from onnx_ml_bridge.artifacts.store.layout import artifact_key
from onnx_ml_bridge.artifacts.store.remote import BucketBackend
from store_files import sealed_version

pytestmark = pytest.mark.families("sentence_embedding")
WRITERS = 8


@pytest.fixture
def bucket(s3_address: str) -> BucketBackend:
    return BucketBackend.open(s3_address)


def content(bucket: BucketBackend, key: str) -> bytes | None:
    stored = bucket.get(key, 1000)
    return None if stored is None else stored.content


def test_an_object_is_written_once(bucket: BucketBackend):
    assert bucket.put_if_absent("a/one.json", b"first")
    assert not bucket.put_if_absent("a/one.json", b"second")
    assert content(bucket, "a/one.json") == b"first"


def test_a_write_whose_answer_was_lost_succeeds_when_it_is_repeated(bucket: BucketBackend):
    bucket.put("a/one.json", b"first")
    assert bucket.put_if_absent("a/one.json", b"first")
    etag = bucket.get("a/one.json", 1000).etag
    assert bucket.replace("a/one.json", b"second", etag)
    assert bucket.replace("a/one.json", b"second", etag)


def test_an_object_is_replaced_only_as_it_was_read(bucket: BucketBackend):
    assert bucket.replace("a/tag.json", b"1", None)
    assert not bucket.replace("a/tag.json", b"2", None)
    stale = bucket.get("a/tag.json", 1000).etag
    assert bucket.replace("a/tag.json", b"3", stale)
    assert not bucket.replace("a/tag.json", b"4", stale)
    assert content(bucket, "a/tag.json") == b"3"
    assert not bucket.replace("a/absent.json", b"5", stale)
    assert content(bucket, "a/absent.json") is None


@pytest.mark.parametrize("exists", [True, False])
def test_one_of_many_writers_succeeds(bucket: BucketBackend, exists: bool):
    for number in range(10):
        key, barrier = f"races/{number}.json", threading.Barrier(WRITERS)
        if exists:
            bucket.put(key, b"old")
        etag = bucket.get(key, 1000).etag if exists else None

        def write(writer: int, key=key, etag=etag, barrier=barrier) -> bool:
            barrier.wait()
            return bucket.replace(key, f"writer {writer}".encode(), etag)

        with ThreadPoolExecutor(WRITERS) as pool:
            succeeded = [writer for writer, answer in enumerate(pool.map(write, range(WRITERS))) if answer]
        assert [content(bucket, key)] == [f"writer {writer}".encode() for writer in succeeded]


def test_objects_are_listed_by_name_and_below_a_prefix(bucket: BucketBackend):
    for key in ("models/a/refs/latest.json", "models/a/versions/1.0.0.json", "models/ab/versions/1.0.0.json", "b.txt"):
        bucket.put(key, b"{}")
    assert bucket.names("models") == ["a", "ab"]
    assert bucket.names("models/a/versions") == ["1.0.0.json"]
    assert bucket.names("absent") == []
    entries = list(bucket.entries("models/a"))
    assert [(entry.key, entry.size) for entry in entries] == [
        ("models/a/refs/latest.json", 2),
        ("models/a/versions/1.0.0.json", 2),
    ]
    assert all(entry.modified > 1.7e9 for entry in entries)


def test_a_missing_object_is_none_to_get_and_an_error_to_read(bucket: BucketBackend):
    assert bucket.get("absent.json", 1000) is None
    with pytest.raises(StoreError, match="missing"):
        list(bucket.read("absent.json", 0, 10))
    bucket.delete(["absent.json", "absent too.json"])


def test_an_object_that_is_too_large_is_refused(bucket: BucketBackend):
    bucket.put("a.json", bytes(1001))
    with pytest.raises(StoreError, match="at most 1000 bytes"):
        bucket.get("a.json", 1000)


def test_a_missing_bucket_is_an_error(s3_address: str):
    absent = BucketBackend.open("s3://absent-bucket/prod")
    for call in (lambda: absent.get("a", 10), lambda: absent.put_if_absent("a", b""), lambda: absent.names("a")):
        with pytest.raises(StoreError, match="s3://absent-bucket/prod") as refused:
            call()
        assert refused.value.code == "store"


def test_a_large_file_is_uploaded_in_parts_and_an_artifact_once(bucket: BucketBackend, tmp_path: Path):
    data = os.urandom(20_000_000)
    identity = sealed_version(tmp_path / "artifact", extra={"data.bin": data})
    files = ["data.bin", "config.json"]
    bucket.put_artifact(tmp_path / "artifact", identity, files)
    key = artifact_key(identity, "data.bin")
    assert b"".join(bucket.read(key, 0, len(data))) == data
    assert b"".join(bucket.read(key, 8_388_600, 8_388_700)) == data[8_388_600:8_388_700]

    before = {entry.key: entry.modified for entry in bucket.entries("artifacts")}
    (tmp_path / "artifact" / "data.bin").write_bytes(bytes(len(data)))
    bucket.put_artifact(tmp_path / "artifact", identity, files)
    assert b"".join(bucket.read(key, 0, len(data))) == data
    assert {entry.key for entry in bucket.entries("artifacts")} == set(before)


def test_what_an_interrupted_upload_left_is_completed(bucket: BucketBackend, tmp_path: Path):
    identity = sealed_version(tmp_path / "artifact")
    files = ["config.json", "tokenizer.json"]
    bucket.put(artifact_key(identity, "config.json"), b"another length")
    bucket.put_artifact(tmp_path / "artifact", identity, files)
    for name in (*files, "manifest.json", "manifest.sha256"):
        assert content_of(bucket, identity, name) == (tmp_path / "artifact" / name).read_bytes()


def test_publishing_again_repairs_objects_of_the_same_size(
    bucket: BucketBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, written = tmp_path / "artifact", []
    identity = sealed_version(folder, extra={"empty.bin": b""})
    files = read_artifact(folder).manifest.files
    bucket.put_artifact(folder, identity, files)
    upload = bucket._upload
    monkeypatch.setattr(bucket, "_upload", lambda *call: (written.extend(call[2]), upload(*call)))
    for damaged in ([], ["config.json"], ["manifest.json", "onnx/model.onnx"], ["manifest.sha256"]):
        for name in damaged:
            bucket.put(artifact_key(identity, name), bytes((folder / name).stat().st_size))
        written.clear()
        bucket.put_artifact(folder, identity, files)
        assert sorted(written) == sorted({*damaged, "manifest.sha256"})
        for name in (*files, "manifest.json", "manifest.sha256"):
            assert content_of(bucket, identity, name) == (folder / name).read_bytes()


def test_what_is_deleted_while_it_is_compared_is_written_again(
    bucket: BucketBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "artifact"
    identity = sealed_version(folder)
    files = read_artifact(folder).manifest.files
    bucket.put_artifact(folder, identity, files)
    upload, deleted = bucket._upload, ["config.json", "tokenizer.json"]

    def delete_one(*call: object) -> None:
        upload(*call)
        if deleted:
            bucket.delete([artifact_key(identity, deleted.pop())])

    monkeypatch.setattr(bucket, "_upload", delete_one)
    bucket.put_artifact(folder, identity, files)
    for name in (*files, "manifest.json", "manifest.sha256"):
        assert content_of(bucket, identity, name) == (folder / name).read_bytes()


def content_of(bucket: BucketBackend, identity: str, name: str) -> bytes:
    stored = bucket.get(artifact_key(identity, name), 1 << 20)
    return b"" if stored is None else stored.content


def test_an_upload_that_takes_too_long_is_given_up(
    bucket: BucketBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    identity = sealed_version(tmp_path / "artifact")
    monkeypatch.setattr(remote, "MAX_UPLOAD_SECONDS", -1)
    with pytest.raises(StoreError, match="took too long"):
        bucket.put_artifact(tmp_path / "artifact", identity, ["config.json"])
    assert list(bucket.entries("artifacts")) == []


def test_an_artifact_is_deleted(bucket: BucketBackend, tmp_path: Path):
    identity = sealed_version(tmp_path / "artifact")
    bucket.put_artifact(tmp_path / "artifact", identity, ["config.json"])
    bucket.delete_artifact(identity)
    bucket.delete_artifact(identity)
    assert list(bucket.entries("artifacts")) == []
