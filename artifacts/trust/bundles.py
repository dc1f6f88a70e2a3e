"""Bundles of OpenSSF Model Signing v1: a Sigstore bundle with a DSSE envelope of an in-toto statement.

The statement lists the files of the model with their hashes as `resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..strict_json import parse_any
from .keys import PublicKey, decoded

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


def verify_bundle(raw: bytes, key: PublicKey, files: Mapping[str, str]) -> None:
    """Check that a bundle has the signature of a key on exactly these files.

    :param files: the SHA-256 of every file in hexadecimal, by path.
    :raises ValueError: saying what is wrong with the bundle.
    """
    bundle = _object(parse_any(raw), "the bundle")
    media_type = _text(bundle, "mediaType")
    if not media_type.startswith(_MEDIA_TYPE):
        raise ValueError(f"the media type is {media_type!r}, expected {_MEDIA_TYPE}")
    envelope = _object(bundle.get("dsseEnvelope"), "dsseEnvelope")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ValueError("expected one signature")
    if (payload_type := _text(envelope, "payloadType")) != _PAYLOAD_TYPE:
        raise ValueError(f"the payload type is {payload_type!r}, expected {_PAYLOAD_TYPE}")
    payload = decoded(_text(envelope, "payload"))
    key.verify(payload_type, payload, _text(_object(signatures[0], "a signature"), "sig"))
    if _signed_files(_object(parse_any(payload), "the statement")) != dict(files):
        raise ValueError("it signs other files than the artifact's")


def _signed_files(statement: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of the files that a statement lists."""
    kind, predicate_type = _text(statement, "_type"), _text(statement, "predicateType")
    if (kind, predicate_type) != (_STATEMENT, _PREDICATE):
        raise ValueError(f"the statement is {predicate_type!r} of {kind!r}")
    predicate = _object(statement.get("predicate"), "predicate")
    serialization = _object(predicate.get("serialization"), "serialization")
    if (_text(serialization, "method"), _text(serialization, "hash_type")) != ("files", "sha256"):
        raise ValueError("the serialization is not that of files with SHA-256")
    resources = predicate.get("resources")
    if not isinstance(resources, list):
        raise ValueError("resources is not a list")
    signed: dict[str, str] = {}
    for resource in resources:
        name = _text(_object(resource, "a resource"), "name")
        if name in signed or _text(resource, "algorithm") != "sha256":
            raise ValueError(f"{name!r} is signed twice, or not with SHA-256")
        signed[name] = _text(resource, "digest")
    return signed


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def _text(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(found := value.get(key), str):
        raise ValueError(f"{key} is not a string")
    return found
