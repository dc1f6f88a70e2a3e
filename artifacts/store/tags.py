"""Moves tags, and yanks versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..errors import StoreError
from .backend import Reader, Writer
from .layout import MAX_RECORD_BYTES, tag_key, version_key
from .listing import tag_records
from .publish import version_record
from .records import TagRecord, VersionRecord
from .spec import require_tag, require_version

# A function that returns signatures of a payload in base64, by the hash of their public key.
Sign = Callable[[bytes], Mapping[str, str]]


def promote(
    writer: Writer, name: str, version: str, tag: str, *, if_current: str | None = None, sign: Sign | None = None
) -> TagRecord:
    """Move a tag to a version.

    A tag that names it already is not changed if `sign` is None or each of its keys has signed the record. Otherwise a
    new revision has the signatures of `sign` only: those of other keys are about the revision before.

    :param if_current: the version that the tag has to name now.
    :param sign: signs the record; None leaves it unsigned.
    :raises StoreError: with the code `not_found` if there is no such version; `conflict` if the tag names another
        version than `if_current`, or if somebody else changed it at the same time.
    """
    record = _require_version(writer, name, require_version(version))
    current, etag = _current(writer, name, require_tag(tag))
    if if_current is not None and (current is None or current.version != if_current):
        actual = "none" if current is None else current.version
        raise StoreError(f"the tag {tag} of {name} was moved", code="conflict", expected=if_current, actual=actual)
    if current is None:
        moved = TagRecord(version, record.identity)
    elif (current.version, current.identity) == (version, record.identity):
        if sign is None or _is_signed(current, name, tag, sign):
            return current
        moved = replace(current, revision=current.revision + 1)
    else:
        moved = current.moved(version, record.identity)
    return _replace(writer, name, tag, moved, etag, sign)


def rollback(writer: Writer, name: str, tag: str, *, sign: Sign | None = None) -> TagRecord:
    """Move a tag to the version that it named before; versions that were yanked are passed over.

    :raises StoreError: with the code `not_found` if there is no such tag or no version before; `conflict` if somebody
        else changed the tag at the same time.
    """
    current, etag = _current(writer, name, require_tag(tag))
    if current is None:
        raise StoreError(f"{name} has no tag {tag}", code="not_found")
    earlier = current
    while earlier.previous:
        record = version_record(writer, name, earlier.previous[0])
        if record is not None and not record.is_yanked:
            moved = replace(earlier.rolled_back(record.identity), revision=current.revision + 1)
            return _replace(writer, name, tag, moved, etag, sign)
        earlier = replace(earlier, previous=earlier.previous[1:])
    raise StoreError(f"the tag {tag} of {name} names {current.version}, and none before", code="not_found")


def yank(writer: Writer, name: str, version: str) -> VersionRecord:
    """Withdraw a version: it does not resolve any more, and its number is not used again.

    :raises StoreError: with the code `not_found` if there is no such version; `conflict` if a tag names it, or if
        somebody else changed it at the same time.
    """
    key = version_key(name, require_version(version))
    stored = writer.get(key, MAX_RECORD_BYTES)
    if stored is None:
        raise StoreError(f"the store {writer.address} has no version {version} of {name}", code="not_found")
    record = VersionRecord.from_bytes(stored.content, key)
    if record.is_yanked:
        return record
    if tags := _tags_of(writer, name, version):
        hint = f"Move the tag first: onnx-ml-bridge promote {name} VERSION {tags[0]}"
        raise StoreError(f"{name} {version} is {', '.join(tags)}", code="conflict", hint=hint)
    yanked = VersionRecord(record.identity, is_yanked=True)
    if not writer.replace(key, yanked.to_bytes(), stored.etag):
        raise StoreError(f"{name} {version} was changed at the same time", code="conflict", hint="Try again.")
    return yanked


def _current(reader: Reader, name: str, tag: str) -> tuple[TagRecord | None, str | None]:
    key = tag_key(name, tag)
    stored = reader.get(key, MAX_RECORD_BYTES)
    return (None, None) if stored is None else (TagRecord.from_bytes(stored.content, key), stored.etag)


def _require_version(writer: Writer, name: str, version: str) -> VersionRecord:
    record = version_record(writer, name, version)
    if record is None or record.is_yanked:
        what = f"the store {writer.address} has no version {version} of {name}"
        raise StoreError(what if record is None else f"{name} {version} was yanked", code="not_found")
    return record


def _is_signed(record: TagRecord, name: str, tag: str, sign: Sign) -> bool:
    """Whether a record has signatures of all keys of `sign`."""
    return sign(record.payload(name, tag)).keys() <= record.signatures.keys()


def _replace(writer: Writer, name: str, tag: str, record: TagRecord, etag: str | None, sign: Sign | None) -> TagRecord:
    signed = record if sign is None else replace(record, signatures=dict(sign(record.payload(name, tag))))
    if not writer.replace(tag_key(name, tag), signed.to_bytes(), etag):
        what = f"the tag {tag} of {name} was changed at the same time"
        raise StoreError(what, code="conflict", hint="Look at it, and try again.")
    return signed


def _tags_of(writer: Writer, name: str, version: str) -> list[str]:
    return [tag for tag, record in tag_records(writer, name).items() if record.version == version]
