"""Brings an artifact of a store to a local folder, verified."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from ..checks import Artifact, check_all, check_changed_files, check_graphs, check_hashes, read_artifact
from ..errors import ArtifactError, StoreError
from ..new_file import new_file, sync_tree
from .backend import Reader
from .cache import Cache, cache_errors
from .download import Source, download
from .folder import FolderBackend
from .layout import MAX_BUNDLE_BYTES, artifact_key, signature_key
from .locate import Report
from .resolve import Resolved, resolve
from .spec import Spec

logger = logging.getLogger(__name__)


def pull(
    reader: Reader,
    spec: Spec,
    cache: Cache,
    *,
    offline: bool = False,
    report: Report | None = None,
    is_checked_later: bool = False,
) -> Artifact:
    """Return an artifact of a store on this machine.

    That of a folder is used where it is. That of a bucket or web server is in the cache, to which it is downloaded
    first if necessary; a pinned artifact that is in the cache needs no request.

    :param offline: make no request.
    :param report: is called during the download; see `download.Report`.
    :param is_checked_later: do not hash the files of an artifact that is in the cache, because the caller does.
    :raises StoreError: as `resolve` does; `offline` if the artifact is not in the cache.
    :raises ArtifactError: with the code of the first check that fails; nothing is added to the cache then.
    """
    if isinstance(reader, FolderBackend):
        return _in_place(reader, spec, is_checked_later)
    if spec.identity is not None and (found := _cached(cache, spec.identity, is_checked_later)):
        return _named(found, spec.name, spec.version)
    resolved = resolve(reader, spec, cache, offline=offline)
    found = _cached(cache, resolved.identity, is_checked_later)
    if found is None:
        if offline:
            raise _not_cached(resolved, cache)
        found = _downloaded(cast(Source, reader), resolved, cache, report, is_checked_later)
    return _named(found, resolved.name, resolved.version)


def fetch_bundles(reader: Reader, identity: str, key_hashes: Iterable[str], cache: Cache) -> None:
    """Copy the signatures of an artifact by some keys to the cache, where they lie as in a store.

    Those that are there are kept; those that the store does not have are left out. Nothing is checked here. A folder
    store has them where they are needed.

    :param key_hashes: the hashes of the public keys; a web server cannot list which signatures it has.
    """
    if isinstance(reader, FolderBackend):
        return
    for key_hash in key_hashes:
        key = signature_key(identity, key_hash)
        path = cache.folder / key
        if path.is_file() or (stored := reader.get(key, MAX_BUNDLE_BYTES)) is None:
            continue
        with cache_errors(cache.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(path) as file:
                file.write(stored.content)


def _in_place(reader: FolderBackend, spec: Spec, is_checked_later: bool) -> Artifact:
    """Return an artifact of a folder store, checked where it is."""
    resolved = resolve(reader, spec)
    path = reader.root / artifact_key(resolved.identity)
    return _named(_checked(path, resolved.identity, is_checked_later), resolved.name, resolved.version)


def _named(artifact: Artifact, name: str, version: str | None) -> Artifact:
    """Return an artifact that has the name and the version of the record; None is any version."""
    manifest = artifact.manifest
    if manifest.name != name or version not in (None, manifest.version):
        expected, actual = f"{name} {version or ''}".rstrip(), f"{manifest.name} {manifest.version}"
        raise StoreError(f"{artifact.identity} has another name or version", expected=expected, actual=actual)
    return artifact


def _cached(cache: Cache, identity: str, is_checked_later: bool) -> Artifact | None:
    """Return an artifact that is in the cache; None if it is not there, or was damaged there."""
    path = cache.find(identity)
    if path is None:
        return None
    try:
        return _checked(path, identity, is_checked_later)
    except ArtifactError:
        return None


def _checked(path: Path, identity: str, is_checked_later: bool) -> Artifact:
    artifact = read_artifact(path)
    if artifact.identity != identity:
        raise ArtifactError("identity", f"{path} is another artifact", expected=identity, actual=artifact.identity)
    if not is_checked_later:
        check_all(artifact)
    return artifact


def _not_cached(resolved: Resolved, cache: Cache) -> StoreError:
    what = f"{resolved.name} {resolved.version} ({resolved.identity}) is not in the cache {cache.folder}"
    return StoreError(f"{what}, and requests are off", code="offline", hint="Pull it once with a network.")


def _downloaded(
    source: Source, resolved: Resolved, cache: Cache, report: Report | None, is_checked_later: bool
) -> Artifact:
    """Download an artifact, unless somebody else does so first."""
    identity = resolved.identity
    with cache.lock(identity), cache_errors(cache.folder):
        if found := _cached(cache, identity, is_checked_later):
            return found
        cache.remove(identity)  # a damaged one
        staging = cache.staging(identity)
        records = download(source, identity, staging, report)
        try:
            artifact = read_artifact(staging)
            artifact.records.update(records)
            _check_rest(artifact)
        except ArtifactError:
            shutil.rmtree(staging, ignore_errors=True)  # another try would end the same way
            raise
        _named(artifact, resolved.name, resolved.version)
        sync_tree(staging)
        path = cache.add(identity, staging)
    try:
        cache.shrink()
    except OSError as error:
        logger.warning("the cache %s could not be made smaller: %s", cache.folder, error)
    return read_artifact(path)


def _check_rest(artifact: Artifact) -> None:
    """Check what is not known of the files that were hashed when they were written."""
    check_hashes(artifact, artifact.manifest.files.keys() - artifact.records.keys())
    check_changed_files(artifact)
    check_graphs(artifact)
