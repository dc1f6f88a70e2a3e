"""What a name in a store means."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store.backend import Stored
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.layout import tag_key, version_key
from onnx_ml_bridge.artifacts.store.records import TagRecord, VersionRecord
from onnx_ml_bridge.artifacts.store.resolve import resolve
from onnx_ml_bridge.artifacts.store.spec import Spec

A, B = "a" * 64, "b" * 64


class Records:
    """A reader of records in memory."""

    address = "s3://models"

    def __init__(self, records: dict[str, bytes]) -> None:
        self.records = records
        self.requests = 0

    def get(self, key: str, limit: int) -> Stored | None:
        self.requests += 1
        return Stored(self.records[key], "") if key in self.records else None


@pytest.fixture
def reader() -> Records:
    return Records(
        {
            version_key("m", "1.0.0"): VersionRecord(A).to_bytes(),
            version_key("m", "1.1.0"): VersionRecord(B).to_bytes(),
            version_key("m", "0.9.0"): VersionRecord(A, is_yanked=True).to_bytes(),
            tag_key("m", "latest"): TagRecord("1.1.0", B, 2, ("1.0.0",)).to_bytes(),
            tag_key("m", "broken"): b"{}",
        }
    )


def code(reader: Records, name: str, cache: Cache | None = None, offline: bool = False) -> str:
    with pytest.raises(OnnxMlBridgeError) as refused:
        resolve(reader, Spec.parse(name), cache, offline=offline)
    return refused.value.code


@pytest.mark.parametrize(
    ("name", "version", "identity"),
    [("m", "1.1.0", B), ("m@latest", "1.1.0", B), ("store:m@1.0.0", "1.0.0", A), (f"m@1.1.0#sha256:{B}", "1.1.0", B)],
)
def test_a_name_means_one_artifact(reader: Records, name: str, version: str, identity: str):
    resolved = resolve(reader, Spec.parse(name))
    assert (resolved.name, resolved.version, resolved.identity) == ("m", version, identity)
    assert (resolved.tag is None) == ("@1" in name)
    assert reader.requests == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m@2.0.0", "not_found"),
        ("m@stable", "not_found"),
        ("other", "not_found"),
        ("m@0.9.0", "not_found"),
        ("m@broken", "store"),
        (f"m@1.0.0#sha256:{B}", "identity"),
        (f"m#sha256:{A}", "identity"),
    ],
)
def test_a_name_without_its_artifact_is_refused(reader: Records, name: str, expected: str):
    assert code(reader, name) == expected


def test_offline_the_last_record_is_used(reader: Records, tmp_path: Path):
    cache = Cache(tmp_path)
    assert code(reader, "m", cache, offline=True) == "offline"
    resolve(reader, Spec.parse("m"), cache)
    reader.records.clear()
    reader.requests = 0
    assert resolve(reader, Spec.parse("m"), cache, offline=True).identity == B
    assert code(reader, f"m#sha256:{A}", cache, offline=True) == "identity"
    assert reader.requests == 0
    reader.address = "s3://others"
    assert code(reader, "m", cache, offline=True) == "offline"


def test_an_invalid_record_is_not_kept(reader: Records, tmp_path: Path):
    cache = Cache(tmp_path)
    assert code(reader, "m@broken", cache) == "store"
    assert code(reader, "m@broken", cache, offline=True) == "offline"
