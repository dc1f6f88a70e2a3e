"""The check that an artifact or a tag is signed by a trusted key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ..checks import Artifact, hash_line
from ..constants import MANIFEST, MANIFEST_HASH
from ..errors import ArtifactError
from ..reading import reading_errors
from ..store.layout import ARTIFACTS, MAX_BUNDLE_BYTES, signature_key
from ..store.records import TAG_PAYLOAD_TYPE, TagRecord
from .bundles import verify_bundle
from .keys import PrivateKey, PublicKey

# Beside an artifact DIR, the folder with its bundles is DIR.signatures.
SIGNATURES_SUFFIX = ".signatures"
# A function that yields bundles of a key: where each comes from, and its content.
Bundles = Callable[[PublicKey], Iterable[tuple[str, bytes]]]
# A key and its bundle.
Signed = tuple[PublicKey, bytes]
_HINT = "Sign it with a trusted key, or trust the key that signed it."


def check_signed(artifact: Artifact, keys: Iterable[PublicKey], bundles: Bundles | None = None) -> Signed | None:
    """Check that an artifact has a valid bundle of one of the keys.

    Only the manifest is covered here: the hashes of the files are checked where they are read.

    :param keys: without any key, every artifact is trusted.
    :param bundles: yields the bundles of a key; None looks beside the folder, and in the store or cache that it is in.
    :returns: the key and its bundle; None without keys.
    :raises ArtifactError: with the code `signature`.
    """
    keys, problems = tuple(keys), []
    for key in keys:
        for where, content in local_bundles(artifact, key) if bundles is None else bundles(key):
            try:
                check_bundle(content, key, artifact)
            except ValueError as error:
                problems.append(f"{where}: {error}")
            else:
                return key, content
    if not keys:
        return None
    manifest = artifact.manifest
    why = "; ".join(problems) or "it has no signature of " + " or ".join(key.hash[:16] for key in keys)
    what = f"{manifest.name} {manifest.version} is not signed by a trusted key: {why}"
    raise ArtifactError("signature", what, hint=_HINT)


def check_bundle(raw: bytes, key: PublicKey, artifact: Artifact) -> None:
    """Check the bundle of a key.

    :raises ValueError: saying what is wrong with it.
    """
    verify_bundle(raw, key, signed_files(artifact))


def signed_files(artifact: Artifact) -> dict[str, str]:
    """Return the SHA-256 of all files of an artifact in hexadecimal, by path; those of the manifest are as it says."""
    files = {name: entry.sha256 for name, entry in artifact.manifest.files.items()}
    line = hashlib.sha256(hash_line(artifact.identity)).hexdigest()
    return files | {MANIFEST: artifact.identity, MANIFEST_HASH: line}


def local_bundles(artifact: Artifact, key: PublicKey) -> Iterator[tuple[str, bytes]]:
    """Yield the bundles of a key beside the folder of an artifact, and in the store or cache that the folder is in.

    :raises ArtifactError: with the code `io` if a bundle cannot be read.
    """
    root = artifact.root.absolute()
    yield from read_bundle(root.with_name(root.name + SIGNATURES_SUFFIX) / f"{key.hash}.json")
    if root.parent.name == ARTIFACTS and root.name == artifact.identity:
        yield from read_bundle(root.parents[1] / signature_key(artifact.identity, key.hash))


@reading_errors()
def read_bundle(path: Path) -> list[tuple[str, bytes]]:
    """Return the path and the content of a bundle, nothing if it does not exist."""
    try:
        with path.open("rb") as file:
            # A content above the limit is cut off, and not valid then
            return [(str(path), file.read(MAX_BUNDLE_BYTES))]
    except FileNotFoundError:
        return []


def check_tag(record: TagRecord, name: str, tag: str, keys: Iterable[PublicKey]) -> None:
    """Check that the record of a tag has a valid signature of one of the keys.

    :param keys: without any key, every record is trusted.
    :raises ArtifactError: with the code `signature`.
    """
    keys, problems = tuple(keys), []
    for key in keys:
        try:
            key.verify(TAG_PAYLOAD_TYPE, record.payload(name, tag), record.signatures[key.hash])
            return
        except KeyError:
            problems.append(f"no signature of {key.hash[:16]}")
        except ValueError as error:
            problems.append(f"{key.hash[:16]}: {error}")
    if keys:
        what = f"the tag {tag} of {name} is not signed by a trusted key ({'; '.join(problems)})"
        raise ArtifactError("signature", what, hint=_HINT)


def check_revision(record: TagRecord, seen: TagRecord | None, name: str, tag: str) -> None:
    """Check that the record of a tag is not older than one that was seen before.

    :raises ArtifactError: with the code `signature`.
    """
    if seen is None or record.revision > seen.revision:
        return
    if (record.revision, record.identity, record.version) != (seen.revision, seen.identity, seen.version):
        raise ArtifactError(
            "signature",
            f"the tag {tag} of {name} is older than the one that was seen here before",
            expected=f"revision {seen.revision} ({seen.version}) or a higher one",
            actual=f"revision {record.revision} ({record.version})",
            hint="Somebody may have put back an old record. Promote the version again to publish a new revision.",
        )


def tag_signer(key: PrivateKey) -> Callable[[bytes], Mapping[str, str]]:
    """Return a function that signs the records of tags, for `Store.promote`."""
    return lambda payload: {key.public.hash: key.sign(TAG_PAYLOAD_TYPE, payload)}
