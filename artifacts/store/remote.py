"""A store in a bucket of S3, Google Cloud Storage or Azure.

Region, endpoint and credentials come from the environment, as `obstore` reads it: AWS_REGION, AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID and so on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..checks import read_artifact
from ..constants import MANIFEST, MANIFEST_HASH
from ..errors import ArtifactError, ConfigError, StoreError
from .backend import Entry
from .layout import MAX_BUNDLE_BYTES, artifact_key
from .objects import MissingObjectError, ObjectReader, import_obstore

BUCKET_SCHEMES = ("s3", "gs", "az")
# A publisher whose upload takes longer gives up: gc could delete the first files before the last ones are there.
MAX_UPLOAD_SECONDS = 24 * 3600.0
# How often a conditional write is tried that the store refuses although the object is missing.
_ATTEMPTS = 5
_PART_BYTES = 8 << 20
_IN_FLIGHT = 4


class BucketBackend(ObjectReader):
    """A bucket, or a folder of one."""

    @classmethod
    def open(cls, address: str) -> BucketBackend:
        """Open a bucket; this makes no request.

        :param address: `s3://BUCKET/FOLDER`, `gs://...` or `az://...`.
        :raises ConfigError: if the address is invalid or has credentials.
        """
        url = urlsplit(address)
        shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}".rstrip("/")
        if url.scheme not in BUCKET_SCHEMES or not url.netloc or "@" in url.netloc or url.query or url.fragment:
            expected = "s3://, gs:// or az://BUCKET/FOLDER, with the credentials in the environment"
            raise ConfigError("store", expected=expected, actual=shown)
        obstore = import_obstore()
        try:
            return cls(shown, obstore.store.from_url(shown))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise StoreError(f"the store {shown} cannot be opened: {str(error).partition(chr(10))[0]}") from None

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield all objects below `prefix/`, at any depth."""
        with self.errors(f"list {prefix}"):
            for batch in self._obstore.list(self._store, prefix, chunk_size=1000):
                for each in batch:
                    yield Entry(each["path"], each["size"], each["last_modified"].timestamp())

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix/`, of objects and of common prefixes, sorted."""
        with self.errors(f"list {prefix}"):
            found = self._obstore.list_with_delimiter(self._store, prefix)
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def put_artifact(self, folder: Path, identity: str, files: Iterable[str]) -> None:
        """Store a sealed artifact: all files, manifest.sha256 last; then the sizes of what is there are compared.

        If all files are there, they are read, and those that were damaged are written again.
        """
        sizes = {name: (folder / name).stat().st_size for name in {*files, MANIFEST, MANIFEST_HASH}}
        is_complete = self._sizes(identity) == sizes
        if is_complete:
            self._upload(folder, identity, [MANIFEST_HASH])  # first: the artifact is new for gc while it is read
            self._upload(folder, identity, self._damaged(folder, identity, sizes))
            is_complete = self._sizes(identity) == sizes  # gc may have deleted the other files meanwhile
        if not is_complete:
            self._upload(folder, identity, [*sorted(sizes.keys() - {MANIFEST_HASH}), MANIFEST_HASH])
            self._require_complete(identity, sizes)

    def _damaged(self, folder: Path, identity: str, sizes: Mapping[str, int]) -> list[str]:
        """Return the files whose objects do not have the hash in the manifest; manifest.sha256 was just written.

        The hashes of the folder are not used: a file that changed there must not replace a good object.
        """
        artifact = read_artifact(folder)
        if artifact.identity != identity:
            raise ArtifactError("manifest_hash", f"{folder} was replaced while it was published")
        hashes = {MANIFEST: identity} | {name: entry.sha256 for name, entry in artifact.manifest.files.items()}
        names = sorted(sizes.keys() - {MANIFEST_HASH})
        return [name for name in names if self._sha256(artifact_key(identity, name), sizes[name]) != hashes[name]]

    def _sha256(self, key: str, size: int) -> str | None:
        """Return the SHA-256 of an object in hexadecimal; None if it is missing."""
        digest = hashlib.sha256()
        try:
            for piece in self.read(key, 0, size):
                digest.update(piece)
        except MissingObjectError:
            return None
        return digest.hexdigest()

    def _upload(self, folder: Path, identity: str, names: Iterable[str]) -> None:
        deadline = time.monotonic() + MAX_UPLOAD_SECONDS
        for name in names:
            if time.monotonic() > deadline:
                expected = f"at most {MAX_UPLOAD_SECONDS / 3600:.0f} hours"
                raise StoreError(f"the upload to {self.address} took too long", expected=expected)
            with (folder / name).open("rb") as file, self.errors(f"write {name}"):
                self._obstore.put(
                    self._store,
                    artifact_key(identity, name),
                    file,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_IN_FLIGHT,
                )

    def _sizes(self, identity: str) -> dict[str, int]:
        """Return the sizes of the files of an artifact that are there, by name."""
        prefix = artifact_key(identity)
        return {each.key.removeprefix(f"{prefix}/"): each.size for each in self.entries(prefix)}

    def _require_complete(self, identity: str, sizes: dict[str, int]) -> None:
        actual = self._sizes(identity)
        if wrong := sorted(name for name, size in sizes.items() if actual.get(name) != size):
            what = f"files are missing or have another size after the upload to {self.address}: {', '.join(wrong)}"
            raise StoreError(what, hint="Publish again.")

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write an object that does not exist; false if it exists with another content.

        A write that succeeded although its answer was lost is recognized by its content.
        """
        for attempt in range(_ATTEMPTS):
            if self._put_if(key, content, "create"):
                return True
            if (stored := self.get(key, MAX_BUNDLE_BYTES)) is not None:
                return stored.content == content
            time.sleep(0.05 * attempt)  # two writers at the same time: S3 can refuse both with 409
        raise StoreError(f"{key} could not be written to {self.address}: other writers interfere", hint="Try again.")

    def replace(self, key: str, content: bytes, etag: str | None) -> bool:
        """Write an object if its ETag is the given one, or if it is absent for None; false otherwise."""
        if etag is None:
            return self.put_if_absent(key, content)
        e_tag, _, version = etag.partition("\n")
        if self._put_if(key, content, {"e_tag": e_tag} | ({"version": version} if version else {})):
            return True
        stored = self.get(key, MAX_BUNDLE_BYTES)
        return stored is not None and stored.content == content

    def _put_if(self, key: str, content: bytes, condition: Any) -> bool:
        """Write an object if a condition is true; return whether it was."""
        exceptions = self._obstore.exceptions
        try:
            with self.errors(f"write {key}"):
                try:
                    # Parts are never written by condition
                    self._obstore.put(self._store, key, content, mode=condition, use_multipart=False)
                except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                    return False
        except MissingObjectError:
            return False
        return True

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whether it exists or not."""
        with self.errors(f"write {key}"):
            self._obstore.put(self._store, key, content)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""
        listed = list(keys)
        if not listed:
            return
        try:
            with self.errors("delete objects"):
                self._obstore.delete(self._store, listed)
        except MissingObjectError:
            if len(listed) > 1:
                for key in listed:
                    self.delete([key])

    def delete_artifact(self, identity: str) -> None:
        """Delete the files of an artifact; its manifest first, without which readers see nothing."""
        keys = [each.key for each in self.entries(artifact_key(identity))]
        first = [artifact_key(identity, MANIFEST), artifact_key(identity, MANIFEST_HASH)]
        self.delete([key for key in first if key in keys])
        self.delete([key for key in keys if key not in first])

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Return nothing: an interrupted write leaves no object."""
        return []
