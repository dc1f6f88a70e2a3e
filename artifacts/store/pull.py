"""Brings an artifact of a store to a local folder, verified."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..checks import Artifact, check_all, check_changed_files, check_graphs, check_hashes, read_artifact
from ..errors import ArtifactError, StoreError
from ..new_file import sync_tree
from ..trust.enforced import check_signed, read_bundle
from ..trust.keys import PublicKey
from .backend import Reader
from .cache import Cache, cache_errors
from .download import Source, download
from .folder import FolderBackend
from .layout import MAX_BUNDLE_BYTES, artifact_key, signature_key
from .progress import Report
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
    keys: Sequence[PublicKey] = (),
) -> Artifact:
    """Return an artifact of a store on this machine.

    That of a folder is used where it is. That of a bucket or web server is in the cache, to which it is downloaded
    first if necessary; a pinned artifact that is in the cache needs no request.

    :param offline: make no request.
    :param report: is called during the download; see `progress.Report`.
    :param is_checked_later: do not hash the files of an artifact that is in the cache, because the caller does.
    :param keys: the artifact, and the tag that names it, must be signed by one of them.
    :raises StoreError: as `resolve` does; `offline` if the artifact is not in the cache.
    :raises ArtifactError: with the code of the first check that fails; nothing is added to the cache then.
    """
    if isinstance(reader, FolderBackend):
        return _in_folder(reader, spec, cache, is_checked_later, keys)
    signed = _SignedPull(reader, cache, keys, offline)
    if spec.identity is not None and (found := _cached(cache, spec.identity, is_checked_later)):
        signed.check(found)
        return _named(found, spec.name, spec.version)
    resolved = resolve(reader, spec, cache, offline=offline, keys=keys)
    found = _cached(cache, resolved.identity, is_checked_later)
    if found is None:
        if offline:
            raise _not_cached(resolved, cache)
        found = _downloaded(cast(Source, reader), resolved, cache, report, is_checked_later, signed)
    signed.check(found)
    return _named(found, resolved.name, resolved.version)


@dataclass(frozen=True)
class _SignedPull:
    """Checks the signatures of artifacts that are pulled, and keeps their bundles in the cache."""

    reader: Reader
    cache: Cache
    keys: Sequence[PublicKey]
    offline: bool

    def check(self, artifact: Artifact) -> None:
        """Check that an artifact is signed by one of the keys; its bundle is in the cache then.

        :raises ArtifactError: with the code `signature`.
        """
        found = check_signed(artifact, self.keys, lambda key: self._bundles(artifact.identity, key))
        if found is not None:
            key, content = found
            with cache_errors(self.cache.folder):
                if read_bundle(self.cache.signature(artifact.identity, key.hash)) == []:
                    self.cache.keep_signature(artifact.identity, key.hash, content)

    def _bundles(self, identity: str, key: PublicKey) -> Iterator[tuple[str, bytes]]:
        yield from read_bundle(self.cache.signature(identity, key.hash))
        if not self.offline:
            name = signature_key(identity, key.hash)
            if (stored := self.reader.get(name, MAX_BUNDLE_BYTES)) is not None:
                yield f"{name} in the store {self.reader.address}", stored.content


def _in_folder(
    reader: FolderBackend, spec: Spec, cache: Cache, is_checked_later: bool, keys: Sequence[PublicKey]
) -> Artifact:
    """Return an artifact of a folder store, checked where it is.

    With keys, the cache has which revision of the tag was seen last.
    """
    resolved = resolve(reader, spec, cache if keys else None, keys=keys)
    artifact = _checked(reader.root / artifact_key(resolved.identity), resolved.identity, is_checked_later)
    check_signed(artifact, keys)
    return _named(artifact, resolved.name, resolved.version)


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
    source: Source,
    resolved: Resolved,
    cache: Cache,
    report: Report | None,
    is_checked_later: bool,
    signed: _SignedPull,
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
        signed.check(artifact)
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
