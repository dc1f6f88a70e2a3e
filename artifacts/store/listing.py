"""The records of all versions and tags of a model."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from .backend import Reader
from .folder import FolderBackend
from .layout import MAX_RECORD_BYTES, tag_key, tags_key, version_key, versions_key
from .records import TagRecord, VersionRecord
from .spec import is_tag, is_version

# The number of records of a bucket that are read at the same time
_REQUESTS = 32
_SUFFIX = ".json"


def version_records(reader: Reader, name: str) -> dict[str, VersionRecord]:
    """Return the records of all versions of a model, also of yanked ones; empty for a model that does not exist.

    :raises StoreError: if the store cannot be listed or read, or if a record is invalid.
    """
    versions = list(filter(is_version, _names(reader, versions_key(name))))
    keys = [version_key(name, version) for version in versions]
    return {
        version: VersionRecord.from_bytes(raw, key)
        for version, key, raw in zip(versions, keys, _contents(reader, keys), strict=True)
        if raw is not None
    }


def tag_records(reader: Reader, name: str) -> dict[str, TagRecord]:
    """Return the records of all tags of a model, sorted by their names.

    :raises StoreError: if the store cannot be listed or read, or if a record is invalid.
    """
    tags = list(filter(is_tag, _names(reader, tags_key(name))))
    keys = [tag_key(name, tag) for tag in tags]
    return {
        tag: TagRecord.from_bytes(raw, key)
        for tag, key, raw in zip(tags, keys, _contents(reader, keys), strict=True)
        if raw is not None
    }


def _names(reader: Reader, prefix: str) -> list[str]:
    return [file.removesuffix(_SUFFIX) for file in reader.names(prefix) if file.endswith(_SUFFIX)]


def _contents(reader: Reader, keys: list[str]) -> Iterable[bytes | None]:
    def read(key: str) -> bytes | None:
        stored = reader.get(key, MAX_RECORD_BYTES)
        return None if stored is None else stored.content

    if isinstance(reader, FolderBackend):
        return list(map(read, keys))
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(read, keys))
