"""An artifact and its signatures in one tar file, for machines without a network.

The file has the layout of a store: `artifacts/IDENTITY/...`, the manifest first, and `signatures/IDENTITY/...`. It is a
USTAR archive without times and owners, so that the same artifact gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..checks import Artifact, check_all, hash_line, read_artifact
from ..constants import MANIFEST, MANIFEST_HASH, MAX_MANIFEST_BYTES
from ..errors import ArtifactError, OnnxMlBridgeError
from ..families import FAMILIES
from ..manifest import parse_manifest
from ..new_file import new_file, sync_tree
from ..trust.enforced import SIGNATURES_SUFFIX, check_signed
from ..trust.keys import PublicKey
from .cache import Cache, cache_errors
from .layout import MAX_BUNDLE_BYTES, artifact_key, signatures_key
from .publish import bundles

# A file has at most this number of bundles, also of keys that are not trusted: the library keeps what it has seen.
MAX_BUNDLES = 16
_HASH_LINE_BYTES = len(hash_line("0" * 64))
_COPY = "Copy or pack the file again."


def pack(folder: Path, file: Path) -> Artifact:
    """Write an artifact and the bundles beside it to a tar file.

    :raises ArtifactError: with the code of the first check that the artifact fails; `file_set` for over 16 bundles.
    :raises OnnxMlBridgeError: with the code `io` if the file cannot be written.
    """
    artifact = read_artifact(folder)
    check_all(artifact)
    signed = list(bundles(folder))
    _check_number(len(signed), f"{folder}{SIGNATURES_SUFFIX}")
    prefix, signatures = artifact_key(artifact.identity), signatures_key(artifact.identity)
    names = [MANIFEST, MANIFEST_HASH, *sorted(artifact.manifest.files)]
    members = [(f"{prefix}/{name}", artifact.path(name)) for name in names]
    members += [(f"{signatures}/{path.name}", path) for path in signed]
    with (
        _writing(file),
        new_file(file.absolute()) as output,
        tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, path in members:
            _add(archive, name, path)
    return artifact


def unpack(file: Path, cache: Cache, keys: Sequence[PublicKey] = ()) -> Artifact:
    """Add the artifact of a tar file to the cache, verified.

    :param keys: the artifact must be signed by one of them; bundles of other keys are left out.
    :raises ArtifactError: with the code of the first check that fails; nothing is added to the cache then.
    :raises OnnxMlBridgeError: with the code `io` if the file or the cache cannot be used.
    """
    with _opened(file) as archive:
        members = iter(archive)
        identity, manifest = _first(members, archive, file)
        with cache.lock(identity), cache_errors(cache.folder):
            staging = cache.staging(f"packed-{identity}")
            shutil.rmtree(staging, ignore_errors=True)
            try:
                found = _Bundles(file, identity, frozenset(key.hash for key in keys))
                _extract(archive, members, staging, manifest, found)
                artifact = read_artifact(staging)
                check_all(artifact)
                check_signed(artifact, keys, found.of_key)
                sync_tree(staging)
                cache.remove(identity)
                path = cache.add(identity, staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            for key_hash, content in found.contents.items():
                cache.keep_signature(identity, key_hash, content)
    return read_artifact(path)


def _first(members: Iterator[tarfile.TarInfo], archive: tarfile.TarFile, file: Path) -> tuple[str, bytes]:
    """Return the identity and the manifest, which is the first file of the archive."""
    member = next(members, None)
    parts = [] if member is None else member.name.split("/")
    if member is None or len(parts) != 3 or parts[0] != "artifacts" or parts[2] != MANIFEST:
        raise ArtifactError(
            "path_kind", f"{file} is not a packed artifact", expected=f"artifacts/IDENTITY/{MANIFEST} first"
        )
    if member.size > MAX_MANIFEST_BYTES:
        raise ArtifactError("path_kind", f"{MANIFEST} in {file} is too large", expected=f"at most {MAX_MANIFEST_BYTES}")
    raw = _content(archive, member, file)
    if (identity := hashlib.sha256(raw).hexdigest()) != parts[1]:
        raise ArtifactError("manifest_hash", f"{MANIFEST} in {file}", expected=parts[1], actual=identity, hint=_COPY)
    return identity, raw


@dataclass
class _Bundles:
    """The bundles of the artifact in a file. With trusted keys, `contents` has only theirs, by the hash of the key."""

    file: Path
    identity: str
    trusted: frozenset[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
        """Keep a member of the archive if it is a bundle of another key; return whether it is one.

        :raises ArtifactError: with the code `file_set` if there are too many.
        """
        key_hash = _key_hash(member, self.identity)
        if key_hash is None or key_hash in self._seen or member.size > MAX_BUNDLE_BYTES:
            return False
        self._seen.add(key_hash)
        _check_number(len(self._seen), str(self.file))
        if not self.trusted or key_hash in self.trusted:
            self.contents[key_hash] = _content(archive, member, self.file)
        return True

    def of_key(self, key: PublicKey) -> list[tuple[str, bytes]]:
        """Return the bundle of a key, nothing if there is none."""
        content = self.contents.get(key.hash)
        return [] if content is None else [(f"{key.hash}.json in the file", content)]


def _check_number(number: int, where: str) -> None:
    if number > MAX_BUNDLES:
        what, hint = f"{where} has too many signatures", f"Pack it with fewer files in DIR{SIGNATURES_SUFFIX}."
        raise ArtifactError("file_set", what, expected=f"at most {MAX_BUNDLES}", actual=number, hint=hint)


def _extract(
    archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo], folder: Path, manifest: bytes, found: _Bundles
) -> None:
    """Write exactly the files that the manifest lists, and keep the bundles."""
    file, identity = found.file, found.identity
    files = parse_manifest(manifest, FAMILIES).files
    rest = {f"{artifact_key(identity)}/{name}": entry.size for name, entry in files.items()}
    rest[artifact_key(identity, MANIFEST_HASH)] = _HASH_LINE_BYTES
    if (available := file.stat().st_size) < sum(rest.values()):
        raise ArtifactError(
            "size", str(file), expected=f"at least {sum(rest.values())} bytes", actual=available, hint=_COPY
        )
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(manifest)
    for member in members:
        if found.take(archive, member):
            continue
        if member.name not in rest:
            what = f"{member.name!r} in {file} is not listed in the manifest, or there twice"
            raise ArtifactError("file_set", what, hint=_COPY)
        if (size := rest.pop(member.name)) != member.size:
            raise ArtifactError(
                "size", member.name, expected=f"{size} bytes", actual=f"{member.size} bytes", hint=_COPY
            )
        target = folder / member.name.removeprefix(f"{artifact_key(identity)}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as output:
            shutil.copyfileobj(_reader(archive, member, file), output, 1 << 20)
    if rest:
        raise ArtifactError("file_set", f"missing files in {file}: {sorted(rest)}", hint=_COPY)


def _key_hash(member: tarfile.TarInfo, identity: str) -> str | None:
    """Return the hash of the key if a member is a bundle."""
    name = member.name.removeprefix(f"{signatures_key(identity)}/")
    key_hash = name.removesuffix(".json")
    is_hash = len(key_hash) == 64 and set(key_hash) <= set("0123456789abcdef")
    return key_hash if is_hash and name not in (member.name, key_hash) else None


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> IO[bytes]:
    """Return a reader of a regular file of the archive."""
    reader = archive.extractfile(member) if member.type == tarfile.REGTYPE and not member.pax_headers else None
    if reader is None:
        what = f"{member.name!r} in {file} is not a regular file"
        raise ArtifactError("path_kind", what, expected="regular files of a USTAR archive")
    return reader


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> bytes:
    return _reader(archive, member, file).read()


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    with path.open("rb") as source:
        member.size = os.fstat(source.fileno()).st_size
        archive.addfile(member, source)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, "r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise ArtifactError("path_kind", f"{file} is not a packed artifact: {error}", hint=_COPY) from error
    except OSError as error:
        raise OnnxMlBridgeError("io", f"{file} cannot be read: {error}") from error


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name is too long for the archive
        raise OnnxMlBridgeError("io", f"{file} cannot be written: {error}") from error
