"""Deletes what a store does not need any more: artifacts without a version, and interrupted writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from .. import strict_json
from ..constants import MANIFEST, MAX_MANIFEST_BYTES
from .backend import Writer
from .layout import ARTIFACTS, MAX_RECORD_BYTES, MODELS, artifact_key, signatures_key, version_key
from .listing import tag_records
from .records import TagRecord, VersionRecord
from .spec import is_name, is_version

# Artifacts are kept for this time after their last file was written, in seconds: a publisher may be about to name them.
GRACE_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Collected:
    """What was deleted, or would be: identities of artifacts, and keys of what interrupted writes left."""

    artifacts: tuple[str, ...]
    leftovers: tuple[str, ...]


def collect_garbage(writer: Writer, *, grace: float = GRACE_SECONDS, dry_run: bool = False) -> Collected:
    """Delete the artifacts that no version and no tag names and that are older than the grace period.

    A version that was yanked names its artifact for the grace period, so that those who are downloading it can end. The
    records that can name an artifact are read again right before it is deleted.

    :param grace: in seconds.
    :param dry_run: only return what would be deleted.
    """
    before = time.time() - grace
    named, deleted = identities(writer, before), []
    for identity, modified in sorted(_newest(writer).items()):
        if modified >= before or identity in named:
            continue
        if not dry_run:
            if _is_named(writer, identity, before) or _newest(writer, identity).get(identity, before) >= before:
                continue
            _delete(writer, identity)
        deleted.append(identity)
    return Collected(tuple(deleted), tuple(writer.sweep(before, dry_run=dry_run)))


def identities(writer: Writer, before: float) -> set[str]:
    """Return the identities of the artifacts that versions and tags name.

    :param before: versions that were yanked before this time, in seconds since 1970, name none.
    """
    return set(_identities(writer, before))


def _identities(writer: Writer, before: float) -> Iterator[str]:
    for entry in list(writer.entries(MODELS)):
        name, _, file = entry.key.removeprefix(f"{MODELS}/").partition("/")
        kind, _, record = file.partition("/")
        if not name or not record.endswith(".json") or record.startswith("."):
            continue
        stored = writer.get(entry.key, MAX_RECORD_BYTES)
        if stored is not None and kind == "versions":
            version = VersionRecord.from_bytes(stored.content, entry.key)
            if not version.is_yanked or entry.modified >= before:
                yield version.identity
        elif stored is not None and kind == "refs":
            yield TagRecord.from_bytes(stored.content, entry.key).identity


def _is_named(writer: Writer, identity: str, before: float) -> bool:
    """Return whether a version or a tag names an artifact now.

    Only the records of the model in its manifest can, because readers refuse others. Without a manifest, as after an
    interrupted upload, all records are read.
    """
    stored = writer.get(artifact_key(identity, MANIFEST), MAX_MANIFEST_BYTES)
    found = None if stored is None else _name_and_version(stored.content)
    if found is None:
        return identity in identities(writer, before)
    name, version = found
    key = version_key(name, version)
    record = writer.get(key, MAX_RECORD_BYTES)
    if record is not None and VersionRecord.from_bytes(record.content, key) == VersionRecord(identity):
        return True
    return any(tag.identity == identity for tag in tag_records(writer, name).values())


def _name_and_version(manifest: bytes) -> tuple[str, str] | None:
    """Return the name and the version in a manifest, None if it has no valid ones."""
    try:
        value = strict_json.parse_any(manifest)
        name, version = str(value["name"]), str(value["version"])
    except (ValueError, TypeError, KeyError):
        return None
    return (name, version) if is_name(name) and is_version(version) else None


def _newest(writer: Writer, identity: str = "") -> dict[str, float]:
    """Return when the newest file of each artifact was written, in seconds since 1970."""
    newest: dict[str, float] = {}
    for entry in writer.entries(f"{ARTIFACTS}/{identity}".rstrip("/")):
        found = entry.key.split("/")[1]
        newest[found] = max(newest.get(found, 0.0), entry.modified)
    return newest


def _delete(writer: Writer, identity: str) -> None:
    writer.delete_artifact(identity)
    writer.delete([entry.key for entry in writer.entries(signatures_key(identity))])
