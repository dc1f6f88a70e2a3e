"""What readers see while versions are published, tags moved and rolled back, and versions yanked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_ml_bridge import BridgeOptions, Model, OnnxMlBridge, OnnxMlBridgeError, verify
from onnx_ml_bridge.artifacts.store.addresses import open_backend
from onnx_ml_bridge.artifacts.store.layout import MAX_RECORD_BYTES, tag_key, version_key
from onnx_ml_bridge.artifacts.store.records import TagRecord, VersionRecord
from store_files import NAME, FolderWriter, published, sealed_version

pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONNX_ML_BRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_address")


@pytest.fixture
def writer(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    return open_backend(address) if "://" in address else FolderWriter(Path(address))


def change_tag(address: str, writer: Any, change: Callable[[TagRecord], TagRecord]) -> None:
    key = tag_key(NAME, "latest")
    stored = open_backend(address).get(key, MAX_RECORD_BYTES)
    assert stored is not None
    writer.put(key, change(TagRecord.from_bytes(stored.content, key)).to_bytes())


def test_readers_follow_a_tag(address: str, writer: Any, tmp_path: Path):
    identities = {version: sealed_version(tmp_path / version, version) for version in ("1.0.0", "1.1.0")}
    published(writer, tmp_path / "1.0.0", "latest")
    with OnnxMlBridge.open(Model(f"store:{NAME}", "m"), options=BridgeOptions(store=address)) as bridge:
        before = bridge.generate_embedding("hello").tolist()
        assert bridge.models()[0].version == "1.0.0"

        published(writer, tmp_path / "1.1.0")
        assert bridge.reload("m").version == "1.0.0"
        change_tag(address, writer, lambda record: record.moved("1.1.0", identities["1.1.0"]))
        assert bridge.reload("m").identity == identities["1.1.0"]
        assert verify(f"store:{NAME}").version == "1.1.0"

        change_tag(address, writer, lambda record: record.rolled_back(identities["1.0.0"]))
        assert bridge.reload("m").version == "1.0.0"
        assert bridge.generate_embedding("hello").tolist() == before


def test_a_yanked_version_is_not_found_online_and_then_offline(
    address: str, writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    identity = sealed_version(tmp_path / "1.0.0")
    published(writer, tmp_path / "1.0.0")
    name = f"store:{NAME}@1.0.0"
    OnnxMlBridge.open(name).close()

    writer.put(version_key(NAME, "1.0.0"), VersionRecord(identity, is_yanked=True).to_bytes())
    for offline in ("", "1"):
        monkeypatch.setenv("ONNX_ML_BRIDGE_OFFLINE", offline)
        with pytest.raises(OnnxMlBridgeError) as refused:
            OnnxMlBridge.open(name)
        assert refused.value.code == "not_found"
