"""Which artifact a name in a store means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ArtifactError, StoreError
from ..trust.enforced import check_revision, check_tag
from ..trust.keys import PublicKey
from .backend import Reader
from .cache import Cache, cache_errors
from .layout import MAX_RECORD_BYTES, tag_key, version_key
from .records import TagRecord, VersionRecord
from .spec import Spec

_LIST = "See the versions: onnx-ml-bridge list NAME"


@dataclass(frozen=True)
class Resolved:
    """The version and the artifact that a name means; `tag` is the record of its tag, None for a version."""

    name: str
    version: str
    identity: str
    tag: TagRecord | None = None


def resolve(
    reader: Reader,
    spec: Spec,
    cache: Cache | None = None,
    *,
    offline: bool = False,
    keys: Sequence[PublicKey] = (),
) -> Resolved:
    """Return what a name means now.

    :param cache: keeps the record, for later calls with `offline`; None keeps nothing.
    :param offline: make no request, and use the record in the cache.
    :param keys: a tag must be signed by one of them, and not be older than the cache has seen it; requires a cache.
    :raises StoreError: with the code `not_found` if the store has no such model, version or tag, or if the version was
        yanked; `offline` if the cache has no record; `store` if the store cannot be read.
    :raises ArtifactError: with the code `identity` if the pinned artifact is another one; `signature`.
    """
    resolved, is_yanked = _resolved(reader, spec, cache, offline, keys)
    if is_yanked:
        raise StoreError(f"{spec.name} {spec.version} was yanked", code="not_found", hint=_LIST)
    if spec.identity not in (None, resolved.identity):
        what = f"{spec.name} {resolved.version} in the store {reader.address} is another artifact"
        raise ArtifactError("identity", what, expected=spec.identity, actual=resolved.identity)
    return resolved


def _resolved(
    reader: Reader, spec: Spec, cache: Cache | None, offline: bool, keys: Sequence[PublicKey]
) -> tuple[Resolved, bool]:
    """Return what a name means, and whether it is a yanked version; keep the record if it is valid."""
    key = tag_key(spec.name, spec.tag or "") if spec.version is None else version_key(spec.name, spec.version)
    raw = _record(reader, key, spec, cache, offline)
    is_yanked = False
    if spec.version is None:
        tag = TagRecord.from_bytes(raw, key)
        check_tag(tag, spec.name, spec.tag or "", keys)
        resolved = Resolved(spec.name, tag.version, tag.identity, tag)
    else:
        record = VersionRecord.from_bytes(raw, key)
        resolved, is_yanked = Resolved(spec.name, spec.version, record.identity), record.is_yanked
    if cache is not None and not offline:
        if resolved.tag is not None and keys:
            _keep_newest(cache, reader.address, key, resolved.tag, spec)
        else:
            cache.keep_resolved(reader.address, key, raw)
    return resolved, is_yanked


def _keep_newest(cache: Cache, address: str, key: str, record: TagRecord, spec: Spec) -> None:
    """Keep the record of a tag, unless a newer one was seen before.

    :raises ArtifactError: with the code `signature` if a newer one was seen.
    :raises OnnxMlBridgeError: with the code `io` if the cache cannot keep it.
    """
    with cache.lock(f"resolved-{hashlib.sha256(address.encode()).hexdigest()}"), cache_errors(cache.folder):
        seen = cache.resolved(address, key)
        before = None if seen is None else TagRecord.from_bytes(seen, f"{key} in the cache {cache.folder}")
        check_revision(record, before, spec.name, spec.tag or "")
        if record != before:
            cache.write_resolved(address, key, record.to_bytes())


def _record(reader: Reader, key: str, spec: Spec, cache: Cache | None, offline: bool) -> bytes:
    if offline:
        raw = None if cache is None else cache.resolved(reader.address, key)
        if raw is None:
            hint = "Pull it once with a network, or name a pinned artifact that is in the cache."
            raise StoreError(f"{spec} was not resolved before, and requests are off", code="offline", hint=hint)
        return raw
    stored = reader.get(key, MAX_RECORD_BYTES)
    if stored is None:
        which = f"version {spec.version}" if spec.version else f"tag {spec.tag}"
        what = f"the store {reader.address} has no {which} of {spec.name}"
        raise StoreError(what, code="not_found", hint=_LIST)
    return stored.content
