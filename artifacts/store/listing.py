"""The records of all versions and tags of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .backend import Reader
from .folder import FolderBackend
from .layout import MAX_RECORD_BYTES, tags_key, versions_key
from .records import TagRecord, VersionRecord
from .spec import is_tag, is_version

# The number of records of a bucket that are read at the same time
_REQUESTS = 32
_SUFFIX = ".json"
Record = TypeVar("Record")


def version_records(reader: Reader, name: str) -> dict[str, VersionRecord]:
    """Return the records of all versions of a model, also of yanked ones; empty for a model that does not exist.

    :raises StoreError: if the store cannot be listed or read, or if a record is invalid.
    """
    return _records(reader, versions_key(name), is_version, VersionRecord.from_bytes)


def tag_records(reader: Reader, name: str) -> dict[str, TagRecord]:
    """Return the records of all tags of a model, sorted by their names.

    :raises StoreError: if the store cannot be listed or read, or if a record is invalid.
    """
    return _records(reader, tags_key(name), is_tag, TagRecord.from_bytes)


def _records(
    reader: Reader, prefix: str, is_kind: Callable[[str], bool], parse: Callable[[bytes, str], Record]
) -> dict[str, Record]:
    """Return the records below a prefix by their names; those that vanish meanwhile are left out."""
    names = list(filter(is_kind, _names(reader, prefix)))
    keys = [f"{prefix}/{name}{_SUFFIX}" for name in names]
    contents = zip(names, keys, _contents(reader, keys), strict=True)
    return {name: parse(raw, key) for name, key, raw in contents if raw is not None}


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
