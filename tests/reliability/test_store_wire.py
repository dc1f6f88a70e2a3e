"""Damage on the way from a web server: bits are flipped, answers cut, files truncated. None of it becomes visible.

ONNX_ML_BRIDGE_WIRE_FAULTS is the number of faults, 12 by default.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store import download, web
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.spec import Spec
from onnx_ml_bridge.artifacts.store.web import WebBackend
from reliability import by_mode
from store_files import NAME, laid_out, sealed_version
from store_servers import WebServer, web_server

pytestmark = pytest.mark.families("sentence_embedding")
FAULTS = by_mode(12, 50, 200)
CODES = {"file_hash", "manifest_hash", "store"}


def flipped(body: bytes, random_: random.Random) -> bytes:
    changed = bytearray(body)
    changed[random_.randrange(len(body))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def cut(body: bytes, random_: random.Random) -> bytes:
    return body[: random_.randrange(len(body))]


def damage(server: WebServer, seed: int, files: list[str]) -> str:
    """Damage every answer with one file, in one of three ways; return the name of the file."""
    random_ = random.Random(seed)
    name, kind = random_.choice(files), random_.choice(("flip", "cut", "truncate"))
    change = flipped if kind == "flip" else cut

    def changed(path: str, body: bytes) -> bytes:
        return change(body, random.Random(seed)) if path.endswith(f"/{name}") and body else body

    if kind == "truncate":
        server.change = changed
    else:
        server.fault = changed
    server.has_ranges = random_.random() < 0.5
    return name


def test_damage_on_the_way_is_refused_and_then_the_pull_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web, "_RETRIES", {"max_retries": 0})
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    monkeypatch.setattr(download, "PART_BYTES", 1 << 16)
    sealed_version(tmp_path / "artifact", extra={"data/random.bin": os.urandom(400_000)})
    identity = laid_out(tmp_path / "store", tmp_path / "artifact", "latest")
    manifest = read_artifact(tmp_path / "artifact").manifest
    sent = [*(name for name, entry in manifest.files.items() if entry.size), "manifest.json", "latest.json"]
    # Every second fault is in the large file
    files = [*sent, *["data/random.bin"] * len(sent)]
    with web_server(tmp_path / "store") as server:
        for seed in range(FAULTS):
            cache = Cache(tmp_path / f"cache-{seed}")
            damage(server, seed, files)
            with pytest.raises(OnnxMlBridgeError) as refused:
                pull(WebBackend.open(server.address), Spec.parse(NAME), cache)
            assert refused.value.code in CODES
            assert not (cache.folder / "artifacts").exists()

            server.fault, server.change = lambda path, body: body, None
            artifact = pull(WebBackend.open(server.address), Spec.parse(NAME), cache)
            check_all(read_artifact(artifact.root))
            assert artifact.identity == identity
