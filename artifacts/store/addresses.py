"""The backend of an address."""

from __future__ import annotations

import os

from ..errors import ConfigError
from .backend import Reader
from .folder import FolderBackend
from .remote import BUCKET_SCHEMES, BucketBackend
from .web import WEB_SCHEMES, WebBackend


def open_backend(address: str | os.PathLike[str]) -> Reader:
    """Return the backend of an address: a folder, or a URL of a bucket or web server.

    :raises ConfigError: if the address is invalid.
    """
    text = os.fspath(address)
    scheme, separator, _ = text.partition("://")
    if separator and scheme in BUCKET_SCHEMES:
        return BucketBackend.open(text)
    if separator and scheme in WEB_SCHEMES:
        return WebBackend.open(text)
    if separator:
        expected = f"a folder, or a URL with {', '.join((*BUCKET_SCHEMES, *WEB_SCHEMES))}"
        raise ConfigError("store", expected=expected, actual=f"{scheme}://...")
    return FolderBackend(text)
