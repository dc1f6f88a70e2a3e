"""A store of versions of artifacts."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..errors import ConfigError, StoreError
from ..trust.keys import read_keys
from .addresses import open_backend
from .backend import Reader, Writer
from .cache import Cache, is_offline
from .garbage import GRACE_SECONDS, Collected, collect_garbage
from .layout import MODELS
from .listing import tag_records, version_records
from .locate import StrPath, store_address
from .progress import Report
from .publish import Published, publish
from .pull import pull
from .records import TagRecord
from .resolve import Resolved, resolve
from .spec import Spec, is_name, precedence, require_tag
from .tags import Sign, promote, rollback, yank


@dataclass(frozen=True)
class StoredVersion:
    """A version of a model in a store, and the SHA-256 of its manifest in hexadecimal."""

    version: str
    identity: str


@dataclass(frozen=True)
class StoredTag:
    """A tag of a model in a store; `revision` counts its changes from 1."""

    tag: str
    version: str
    identity: str
    revision: int


class Store:
    """A store in a folder, in a bucket (`s3://`, `gs://`, `az://`) or on a web server (`https://`, reading only).

    Thread-safe. Names of models in it are `NAME[@VERSION|@TAG][#sha256:IDENTITY]`; without a version the tag is
    `latest`.
    """

    def __init__(
        self,
        address: StrPath | None = None,
        *,
        keys: Iterable[StrPath] = (),
        cache: StrPath | None = None,
        offline: bool | None = None,
    ) -> None:
        """Open a store; this makes no request.

        :param address: a folder or a URL; None is the one in ONNX_ML_BRIDGE_STORE.
        :param keys: paths of public keys in PEM (P-256): `pull` and `resolve` refuse what none of them signed.
        :param cache: the folder for artifacts from buckets and web servers; None is the one in ONNX_ML_BRIDGE_CACHE,
            else the cache folder of the user.
        :param offline: answer from the cache only; None is what ONNX_ML_BRIDGE_OFFLINE says.
        :raises ConfigError: if there is no address, or an invalid one; for an invalid key.
        :raises DependencyError: if a library of the extra `store` is missing.
        """
        self._reader = open_backend(store_address(address))
        self._keys = read_keys(keys)
        self._cache_folder = cache
        self._offline = is_offline() if offline is None else offline

    @property
    def address(self) -> str:
        """The address without credentials."""
        return self._reader.address

    # -- Reading

    def pull(self, spec: str, *, report: Report | None = None) -> Path:
        """Return the folder of an artifact on this machine, downloaded if necessary, with all hashes checked.

        :param report: is called during a download with the number of bytes that are there, and that of all.
        :raises StoreError: with the code `not_found`, `offline` or `store`.
        :raises ArtifactError: with the code of the first check that the artifact fails; `signature`.
        """
        return pull(
            self._reader, Spec.parse(spec), self._cache, offline=self._offline, report=report, keys=self._keys
        ).root

    def resolve(self, spec: str) -> Resolved:
        """Return the version and the identity that a name means now."""
        return resolve(self._reader, Spec.parse(spec), self._cache, offline=self._offline, keys=self._keys)

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return [name for name in self._online.names(MODELS) if is_name(name)]

    def versions(self, name: str) -> list[StoredVersion]:
        """Return the versions of a model that were not yanked, the lowest first.

        :raises StoreError: with the code `not_found` if there is no such model.
        """
        records = version_records(self._online, _model(name))
        if not records:
            raise StoreError(f"the store {self.address} has no model {name}", code="not_found")
        versions = sorted((version for version, record in records.items() if not record.is_yanked), key=precedence)
        return [StoredVersion(version, records[version].identity) for version in versions]

    def tags(self, name: str) -> list[StoredTag]:
        """Return the tags of a model, sorted by their names."""
        records = tag_records(self._online, _model(name))
        return [_stored(tag, record) for tag, record in records.items()]

    def updates(self, spec: str) -> list[StoredVersion]:
        """Return the versions that are higher than the one a name means, the lowest first.

        Pre-releases are updates of pre-releases only. The version in a name need not exist any more.
        """
        parsed = Spec.parse(spec)
        current = precedence(parsed.version or self.resolve(spec).version)
        return [
            each
            for each in self.versions(parsed.name)
            if (version := precedence(each.version)) > current and (current.prerelease or not version.prerelease)
        ]

    # -- Writing

    def publish(self, folder: StrPath, *, tags: Iterable[str] = (), sign: Sign | None = None) -> Published:
        """Publish an artifact under the name and version of its manifest, then move tags to it.

        The bundles of signatures in `FOLDER.signatures` are published too. Publishing the same artifact again completes
        what an interrupted upload left.

        :raises ArtifactError: with the code of the first check that the artifact fails.
        :raises StoreError: with the code `exists` if the version exists with another artifact; `conflict` if somebody
            else moves a tag at the same time; `store`.
        """
        tags = [require_tag(tag) for tag in tags]
        published = publish(self._writer, Path(folder))
        for tag in tags:
            promote(self._writer, published.name, published.version, tag, sign=sign)
        return published

    def promote(
        self, name: str, version: str, tag: str, *, if_current: str | None = None, sign: Sign | None = None
    ) -> StoredTag:
        """Move a tag to a version.

        :param if_current: the version that the tag has to name now.
        :param sign: signs the record; also one that names the version already, but has no signature of this key.
        :raises StoreError: with the code `not_found` if there is no such version; `conflict` if the tag names another
            version than `if_current`, or if somebody else changes it at the same time.
        """
        return _stored(tag, promote(self._writer, _model(name), version, tag, if_current=if_current, sign=sign))

    def rollback(self, name: str, tag: str, *, sign: Sign | None = None) -> StoredTag:
        """Move a tag to the version that it named before.

        :raises StoreError: with the code `not_found` if there is no such tag or no version before; `conflict`.
        """
        return _stored(tag, rollback(self._writer, _model(name), tag, sign=sign))

    def yank(self, name: str, version: str) -> None:
        """Withdraw a version: it does not resolve any more, and its number is not used again.

        :raises StoreError: with the code `not_found` if there is no such version; `conflict` if a tag names it.
        """
        yank(self._writer, _model(name), version)

    def gc(self, *, grace: float = GRACE_SECONDS, dry_run: bool = False) -> Collected:
        """Delete the artifacts that no version and no tag names, and what interrupted writes left.

        :param grace: only what is older than this many seconds.
        :param dry_run: only return what would be deleted.
        """
        return collect_garbage(self._writer, grace=grace, dry_run=dry_run)

    # -- Parts

    @functools.cached_property
    def _cache(self) -> Cache:
        return Cache(self._cache_folder)

    @property
    def _online(self) -> Reader:
        if self._offline:
            raise StoreError(f"the store {self.address} is not asked: requests are off", code="offline")
        return self._reader

    @property
    def _writer(self) -> Writer:
        if not hasattr(self._online, "put_if_absent"):
            what = f"the store {self.address} cannot be written: web servers are for reading"
            raise StoreError(what, hint="Write to the folder or bucket behind the web server.")
        return cast(Writer, self._online)


def _model(name: str) -> str:
    if not is_name(name):
        raise ConfigError("name", expected="the name of a model, such as minilm", actual=repr(os.fspath(name)))
    return name


def _stored(tag: str, record: TagRecord) -> StoredTag:
    return StoredTag(tag, record.version, record.identity, record.revision)
