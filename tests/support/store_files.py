"""Small artifacts with versions, and stores that have them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.checks import hash_line
from onnx_ml_bridge.artifacts.store.layout import artifact_key, tag_key, version_key
from onnx_ml_bridge.artifacts.store.records import TagRecord, VersionRecord
from onnx_ml_bridge.artifacts.strict_json import canonical

TINY = Path(__file__).parents[1] / "golden" / "valid" / "tiny-embedding"
NAME = "tiny-embedding"


def sealed_version(
    folder: Path, version: str = "1.0.0", extra: Mapping[str, bytes] | None = None, *, name: str = NAME
) -> str:
    """Write a valid artifact with a version and more files; return its identity."""
    shutil.copytree(TINY, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest |= {"version": version, "name": name}
    for file, content in (extra or {}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        manifest["files"][file] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    raw = canonical(manifest)
    identity = hashlib.sha256(raw).hexdigest()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_bytes(hash_line(identity))
    return identity


def published(backend: Any, folder: Path, *tags: str) -> str:
    """Write an artifact, its version and tags to a backend without any check; return its identity."""
    raw = (folder / "manifest.json").read_bytes()
    manifest, identity = json.loads(raw), hashlib.sha256(raw).hexdigest()
    name, version = manifest["name"], manifest["version"]
    backend.put_artifact(folder, identity, manifest["files"])
    backend.put(version_key(name, version), VersionRecord(identity).to_bytes())
    for tag in tags:
        backend.put(tag_key(name, tag), TagRecord(version, identity).to_bytes())
    return identity


def laid_out(root: Path, folder: Path, *tags: str) -> str:
    """Copy an artifact, its version and tags to a folder with the layout of a store; return its identity."""
    return published(FolderWriter(root), folder, *tags)


class FolderWriter:
    """Writes a store in a folder without any care."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_artifact(self, folder: Path, identity: str, files: object) -> None:
        shutil.copytree(folder, self._root / artifact_key(identity), dirs_exist_ok=True)

    def put(self, key: str, content: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
