"""Keys on the curve P-256, and signatures in the envelope of DSSE."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, OnnxMlBridgeError, missing_store_library

# The environment variable with the password of an encrypted private key.
PASSWORD_VARIABLE = "ONNX_ML_BRIDGE_KEY_PASSWORD"
_MAX_KEY_BYTES = 1 << 16
_PUBLIC = "a public key in PEM (ECDSA on P-256), such as `openssl ec -in KEY -pubout` writes"
_PRIVATE = "a private key in PEM (ECDSA on P-256), such as `openssl ecparam -name prime256v1 -genkey -noout` writes"


@dataclass(frozen=True)
class PublicKey:
    """A public key; `hash` is the SHA-256 of its DER encoding (SubjectPublicKeyInfo) in hexadecimal."""

    hash: str
    _key: Any = field(repr=False, compare=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PublicKey:
        """Read a public key.

        :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
        :raises ConfigError: if it is no public key on P-256.
        """
        loaded = _import_serialization()
        raw = _content(path)
        try:
            key = loaded.load_pem_public_key(raw)
        except ValueError as error:
            raise _refused(path, _PUBLIC, str(error)) from error
        return cls.of(key, path)

    @classmethod
    def of(cls, key: Any, path: object) -> PublicKey:
        """Wrap a key of the library `cryptography`.

        :param path: where it comes from, for the error.
        """
        loaded = _import_serialization()
        if getattr(getattr(key, "curve", None), "name", None) != "secp256r1":
            raise _refused(path, _PUBLIC, "another kind of key")
        der = key.public_bytes(loaded.Encoding.DER, loaded.PublicFormat.SubjectPublicKeyInfo)
        return cls(hashlib.sha256(der).hexdigest(), key)

    def verify(self, payload_type: str, payload: bytes, signature: str) -> None:
        """Check a signature.

        :param signature: in DER and base64.
        :raises ValueError: if it is not the key's signature of the payload.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        raw = decoded(signature)
        try:
            self._key.verify(raw, pre_authentication_encoding(payload_type, payload), ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise ValueError("the signature is wrong") from error


@dataclass(frozen=True)
class PrivateKey:
    """A private key, which signs."""

    public: PublicKey
    path: Path
    _key: Any = field(repr=False, compare=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PrivateKey:
        """Read a private key; the password of an encrypted one is in ONNX_ML_BRIDGE_KEY_PASSWORD.

        :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
        :raises ConfigError: if it is no private key on P-256, or the password is missing or wrong.
        """
        loaded, raw = _import_serialization(), _content(path)
        try:
            key = loaded.load_pem_private_key(raw, key_password())
        except TypeError as error:  # a password is missing, or not needed
            raise ConfigError(
                f"key {os.fspath(path)}", expected=f"its password in {PASSWORD_VARIABLE}", actual=str(error)
            ) from None
        except ValueError as error:
            raise _refused(path, _PRIVATE, str(error)) from None
        if not hasattr(key, "public_key"):
            raise _refused(path, _PRIVATE, "another kind of key")
        return cls(PublicKey.of(key.public_key(), path), Path(path), key)

    def sign(self, payload_type: str, payload: bytes) -> str:
        """Return the signature of a payload in DER and base64."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        raw = self._key.sign(pre_authentication_encoding(payload_type, payload), ec.ECDSA(SHA256()))
        return base64.b64encode(raw).decode()


def read_keys(paths: Iterable[str | os.PathLike[str]]) -> tuple[PublicKey, ...]:
    """Read public keys; see `PublicKey.read`."""
    return tuple(PublicKey.read(path) for path in paths)


def key_password() -> bytes | None:
    """Return the password of the private key, None if there is none."""
    password = os.environ.get(PASSWORD_VARIABLE)
    return password.encode() if password else None


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what a signature in an envelope of DSSE signs (secure-systems-lab/dsse, protocol.md)."""
    return f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload


def decoded(text: str) -> bytes:
    """Decode base64.

    :raises ValueError: for other characters or a wrong length.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def _content(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise OnnxMlBridgeError("io", f"the key {os.fspath(path)} cannot be read: {error.strerror}") from error


def _refused(path: object, expected: str, problem: str) -> ConfigError:
    return ConfigError(f"key {path}", expected=expected, actual=problem.partition("\n")[0])


def _import_serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise missing_store_library("signatures require", "cryptography") from error
    return serialization
