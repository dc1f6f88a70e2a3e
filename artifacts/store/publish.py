"""Publishes artifacts: the files, their signatures, and last the record of the version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..checks import check_all, read_artifact
from ..errors import StoreError
from ..trust.enforced import SIGNATURES_SUFFIX
from .backend import Reader, Writer
from .layout import MAX_BUNDLE_BYTES, MAX_RECORD_BYTES, signature_key, version_key
from .records import VersionRecord
from .spec import require_version


@dataclass(frozen=True)
class Published:
    """A version that was published; `is_new` is false if the store had it before."""

    name: str
    version: str
    identity: str
    is_new: bool


def publish(writer: Writer, folder: Path) -> Published:
    """Publish an artifact under the name and version of its manifest.

    Publishing the same artifact again completes what an interrupted upload left.

    :raises ArtifactError: with the code of the first check that the artifact fails.
    :raises ConfigError: if the version of the manifest is not one of a store.
    :raises StoreError: with the code `exists` if the version exists with another artifact, or was yanked.
    """
    artifact = read_artifact(folder)
    check_all(artifact)
    name, version = artifact.manifest.name, require_version(artifact.manifest.version)
    is_new = _require_free(writer, name, version, artifact.identity)
    writer.put_artifact(folder, artifact.identity, artifact.manifest.files)
    for bundle in bundles(folder):
        writer.put(signature_key(artifact.identity, bundle.stem), _content(bundle))
    if not writer.put_if_absent(version_key(name, version), VersionRecord(artifact.identity).to_bytes()):
        _require_free(writer, name, version, artifact.identity)
    return Published(name, version, artifact.identity, is_new)


def bundles(folder: Path) -> Iterable[Path]:
    """Return the bundles of signatures beside an artifact, by the hash of their keys."""
    folder = folder.absolute()
    beside = folder.with_name(folder.name + SIGNATURES_SUFFIX)
    return sorted(beside.glob("*.json")) if beside.is_dir() else ()


def version_record(reader: Reader, name: str, version: str) -> VersionRecord | None:
    """Return the record of a version, None if there is none."""
    key = version_key(name, version)
    stored = reader.get(key, MAX_RECORD_BYTES)
    return None if stored is None else VersionRecord.from_bytes(stored.content, key)


def _require_free(writer: Writer, name: str, version: str, identity: str) -> bool:
    """Return whether a version does not exist; it may exist with this artifact."""
    record = version_record(writer, name, version)
    if record is None:
        return True
    if record.is_yanked or record.identity != identity:
        what = f"{name} {version} was yanked" if record.is_yanked else f"{name} {version} exists"
        hint = "A version is never used again: publish the artifact with a higher one."
        raise StoreError(what, code="exists", expected=record.identity, actual=identity, hint=hint)
    return False


def _content(bundle: Path) -> bytes:
    with bundle.open("rb") as file:
        content = file.read(MAX_BUNDLE_BYTES + 1)
    if len(content) > MAX_BUNDLE_BYTES:
        raise StoreError(f"{bundle} is too large", code="store", expected=f"at most {MAX_BUNDLE_BYTES} bytes")
    return content
