"""Names of artifacts in a store: `NAME[@VERSION|@TAG][#sha256:IDENTITY]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigError, missing_store_library

# Where a path is possible too, the name of an artifact in a store begins with this.
PREFIX = "store:"
DEFAULT_TAG = "latest"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")  # the pattern of `name` in the manifest
_TAG = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_IDENTITY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Spec:
    """Which artifact of a store is meant: the version or the tag of a model, and its identity if it is pinned.

    Exactly one of `version` and `tag` is not None.
    """

    name: str
    version: str | None
    tag: str | None
    identity: str | None = None

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Parse a name, with or without the prefix `store:`.

        :raises ConfigError: for a name of another form.
        """
        rest, _, pin = text.removeprefix(PREFIX).partition("#")
        name, at, which = rest.partition("@")
        identity = pin.removeprefix("sha256:")
        is_pin_valid = not pin if identity == pin else bool(_IDENTITY.fullmatch(identity))
        if not is_name(name) or bool(at) != bool(which) or not is_pin_valid or text.endswith("#"):
            raise ConfigError("store", expected="NAME[@VERSION|@TAG][#sha256:IDENTITY]", actual=repr(text))
        if which and is_version(which):
            return cls(name, which, None, identity or None)
        return cls(name, None, require_tag(which or DEFAULT_TAG), identity or None)

    def pinned(self, identity: str | None) -> Spec:
        """Return the name with an identity, unless it has one; None changes nothing."""
        return self if self.identity is not None else replace(self, identity=identity)

    def __str__(self) -> str:
        """Return the name without the prefix."""
        pin = f"#sha256:{self.identity}" if self.identity else ""
        return f"{self.name}@{self.version or self.tag}{pin}"


def is_name(text: str) -> bool:
    """Whether a text can be the name of a model."""
    return bool(_NAME.fullmatch(text))


def is_version(text: str) -> bool:
    """Whether a text is a version: SemVer 2.0.0, in lower case, without build metadata."""
    return text == text.lower() and "+" not in text and len(text) <= 64 and _semver().Version.is_valid(text)


def precedence(version: str) -> Any:
    """Return a version as an object that compares by the precedence of SemVer, with the attribute `prerelease`."""
    return _semver().Version.parse(version)


def require_version(text: str) -> str:
    """Return a version.

    :raises ConfigError: for a text that is no version.
    """
    if not is_version(text):
        expected = "a version such as 1.2.0: SemVer 2.0.0, in lower case, without +"
        raise ConfigError("version", expected=expected, actual=repr(text))
    return text


def is_tag(text: str) -> bool:
    """Whether a text is a tag; a version is none."""
    return bool(_TAG.fullmatch(text)) and not is_version(text)


def require_tag(text: str) -> str:
    """Return a tag.

    :raises ConfigError: for a text that is no tag.
    """
    if not is_tag(text):
        raise ConfigError("tag", expected=f"{_TAG.pattern}, not a version", actual=repr(text))
    return text


def _semver() -> Any:
    try:
        import semver
    except ImportError as error:
        raise missing_store_library("stores require", "semver") from error
    return semver
