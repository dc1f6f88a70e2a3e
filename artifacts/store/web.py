"""A store behind a web server, which can be read but not listed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, StoreError
from .backend import Entry
from .objects import ObjectReader, import_obstore

WEB_SCHEMES = ("https", "http")
# A file without ranges is one long answer: not its duration is limited, but the time without any byte.
_TIMEOUTS = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "7days"}
_RETRIES = {"max_retries": 5}


class WebBackend(ObjectReader):
    """A folder of a web server."""

    def __init__(self, address: str, store: Any) -> None:
        """Wrap a store of `obstore`.

        :param address: the address without credentials.
        """
        super().__init__(address, store)
        self._has_ranges = None

    @classmethod
    def open(cls, address: str) -> WebBackend:
        """Open a web server; this makes no request.

        :param address: `https://HOST/FOLDER`; `https://USER:PASSWORD@HOST/FOLDER` uses basic authentication.
        :raises ConfigError: if the address is invalid.
        """
        url = urlsplit(address)
        credentials, _, host = url.netloc.rpartition("@")
        shown = f"{url.scheme}://{host}{url.path}".rstrip("/")
        if url.scheme not in WEB_SCHEMES or not host or url.query or url.fragment:
            raise ConfigError("store", expected="https://HOST/FOLDER without a query", actual=shown)
        options: dict[str, Any] = {**_TIMEOUTS, "allow_http": url.scheme == "http"}
        if credentials:
            encoded = base64.b64encode(unquote(credentials).encode()).decode()
            options["default_headers"] = {"authorization": f"Basic {encoded}"}
        obstore = import_obstore()
        try:
            return cls(shown, obstore.store.HTTPStore(shown, client_options=options, retry_config=_RETRIES))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise StoreError(f"the store {shown} cannot be opened: {str(error).partition(chr(10))[0]}") from None

    def has_ranges(self, key: str) -> bool:
        """Whether the server sends parts of objects; `key` is an object that is not empty."""
        if self._has_ranges is None:
            with self.errors(f"read {key}"):
                try:
                    self._obstore.get(self._store, key, options={"range": (0, 1)}).bytes()
                    self._has_ranges = True
                except self._obstore.exceptions.NotSupportedError:
                    self._has_ranges = False
        return self._has_ranges

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Raise `StoreError`: a web server cannot list."""
        self._cannot_list()

    def names(self, prefix: str) -> list[str]:
        """Raise `StoreError`: a web server cannot list."""
        self._cannot_list()

    def _cannot_list(self) -> NoReturn:
        hint = "Name a version or tag, or pass the address of the folder or bucket behind the server."
        raise StoreError(f"the web server {self.address} cannot list its files", hint=hint)
