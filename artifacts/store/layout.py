"""The keys of a store, relative to its root; see the section Layout of STORE.md."""

from __future__ import annotations

ARTIFACTS = "artifacts"
MODELS = "models"
SIGNATURES = "signatures"
STAGING = ".staging"
LOCKS = ".locks"
# Records and bundles of signatures are refused above these sizes, before they are read.
MAX_RECORD_BYTES = 1 << 16
MAX_BUNDLE_BYTES = 1 << 20


def artifact_key(identity: str, file: str = "") -> str:
    """Return the key of an artifact, or that of one of its files."""
    return f"{ARTIFACTS}/{identity}/{file}".rstrip("/")


def versions_key(name: str) -> str:
    """Return the key of the folder with the versions of a model."""
    return f"{MODELS}/{name}/versions"


def version_key(name: str, version: str) -> str:
    """Return the key of the record of a version."""
    return f"{versions_key(name)}/{version}.json"


def tags_key(name: str) -> str:
    """Return the key of the folder with the tags of a model."""
    return f"{MODELS}/{name}/refs"


def tag_key(name: str, tag: str) -> str:
    """Return the key of the record of a tag."""
    return f"{tags_key(name)}/{tag}.json"


def signatures_key(identity: str) -> str:
    """Return the key of the folder with the signatures of an artifact."""
    return f"{SIGNATURES}/{identity}"


def signature_key(identity: str, key_hash: str) -> str:
    """Return the key of the bundle with the signature of one public key."""
    return f"{signatures_key(identity)}/{key_hash}.json"
