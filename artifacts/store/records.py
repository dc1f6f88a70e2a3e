"""The records of a store: which artifact a version is, and which version a tag is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import StoreError
from ..strict_json import canonical, canonical_line, parse_any
from .layout import MAX_RECORD_BYTES
from .spec import is_version

# A tag remembers this many earlier versions.
MAX_PREVIOUS = 20
# The payload type of a signature of a tag.
TAG_PAYLOAD_TYPE = "application/vnd.onnx-ml-bridge.tag+json"

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class VersionRecord:
    """Which artifact a version is. The record of a yanked version remains, so that its number is not used again."""

    identity: str
    is_yanked: bool = False

    def to_bytes(self) -> bytes:
        """Return the record as canonical JSON."""
        return canonical({"identity": self.identity} | ({"yanked": True} if self.is_yanked else {}))

    @classmethod
    def from_bytes(cls, raw: bytes, key: str) -> VersionRecord:
        """Parse a record.

        :param key: the key of the record, for the error.
        :raises StoreError: with the code `store` if it is invalid.
        """
        fields = _fields(raw, key, {"identity": _is_hash}, {"yanked": lambda value: value is True})
        return cls(fields["identity"], "yanked" in fields)


@dataclass(frozen=True)
class TagRecord:
    """Which version a tag is.

    `revision` is 1 for the first record of a tag and grows by 1 with every change. `previous` has earlier versions, the
    newest first. `signatures` has signatures in base64 by the hash of their public key.
    """

    version: str
    identity: str
    revision: int = 1
    previous: tuple[str, ...] = ()
    signatures: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the record as canonical JSON."""
        record = {
            "version": self.version,
            "identity": self.identity,
            "revision": self.revision,
            "previous": list(self.previous),
        }
        return canonical(record | ({"signatures": dict(self.signatures)} if self.signatures else {}))

    @classmethod
    def from_bytes(cls, raw: bytes, key: str) -> TagRecord:
        """Parse a record.

        :param key: the key of the record, for the error.
        :raises StoreError: with the code `store` if it is invalid.
        """
        required = {
            "version": _is_version,
            "identity": _is_hash,
            "revision": lambda value: type(value) is int and value >= 1,
            "previous": _is_previous,
        }
        fields = _fields(raw, key, required, {"signatures": _is_signatures})
        return cls(**fields | {"previous": tuple(fields["previous"])})

    def moved(self, version: str, identity: str) -> TagRecord:
        """Return the record after the tag was moved to a version; it is unsigned."""
        previous = (self.version, *(each for each in self.previous if each != version))
        return TagRecord(version, identity, self.revision + 1, previous[:MAX_PREVIOUS])

    def rolled_back(self, identity: str) -> TagRecord:
        """Return the record after the tag was moved to `previous[0]`, which is this artifact; it is unsigned."""
        return TagRecord(self.previous[0], identity, self.revision + 1, self.previous[1:])

    def payload(self, name: str, tag: str) -> bytes:
        """Return what the signatures of the record sign, without the encoding of DSSE."""
        what = {"name": name, "tag": tag, "version": self.version, "identity": self.identity, "revision": self.revision}
        return canonical_line(what).rstrip(b"\n")


Check = Callable[[Any], bool]


def _fields(raw: bytes, key: str, required: Mapping[str, Check], optional: Mapping[str, Check]) -> dict[str, Any]:
    """Return the fields of a record whose keys and values are as expected."""
    checks = {**required, **optional}
    try:
        value = parse_any(raw) if len(raw) <= MAX_RECORD_BYTES else None
    except ValueError as error:
        raise StoreError(f"the record {key} is not valid JSON: {error}") from error
    if not isinstance(value, dict) or set(required) - set(value) or set(value) - set(checks):
        keys = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise StoreError(f"the record {key} is invalid", expected=f"the keys {sorted(required)}", actual=keys)
    if wrong := sorted(name for name, each in value.items() if not checks[name](each)):
        raise StoreError(f"the record {key} has invalid values of {', '.join(wrong)}")
    return value


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and is_version(value)


def _is_previous(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_PREVIOUS and all(map(_is_version, value))


def _is_signatures(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(_is_hash(key) and isinstance(each, str) for key, each in value.items())
