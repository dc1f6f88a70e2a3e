"""What a caller says of a server with OpenAI's protocol, and the checks of it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..artifacts.errors import ConfigError
from ..runtime.cancellation import check_timeout
from ..runtime.local_only import is_local_only, not_local

DEFAULT_BASE_URL = "https://api.openai.com/v1"
OPENAI_HOST = "api.openai.com"
_LIMITS = {"max_attempts": 10, "max_in_flight": 1024, "requests_per_minute": 1_000_000}


@dataclass(frozen=True, kw_only=True)
class ApiServer:
    """A server with OpenAI's protocol, and how it is asked. Times are in seconds.

    `base_url` is http or https, without user, query and fragment. `api_key_env` is the name of the environment variable
    that has the key; None sends no key. `max_attempts` is the number of times that one request is sent at the maximum,
    `max_in_flight` the number of requests at the same time, `requests_per_minute` spaces their starts evenly.
    `connect_timeout` is the limit for a connection, `read_timeout` the time in which a request must bring the next
    bytes. `max_backoff` is the longest random wait before a request is sent again. `timeout` is the limit of calls that
    pass none; None uses that of the `BridgeOptions`.
    """

    base_url: str = DEFAULT_BASE_URL
    api_key_env: str | None = None
    max_attempts: int = 4
    max_in_flight: int = 8
    requests_per_minute: int | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    max_backoff: float = 8.0
    timeout: float | None = None


class Secret:
    """A key that nothing prints."""

    def __init__(self, value: str) -> None:
        """Wrap a key."""
        self._value = value

    def header(self) -> str:
        """Return the value of the header `Authorization`."""
        return f"Bearer {self._value}"

    def __repr__(self) -> str:
        """Return a text without the key."""
        return "Secret(...)"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Refuse to be pickled."""
        raise TypeError("a key cannot be pickled")


def check_server(server: ApiServer) -> None:
    """Raise `ConfigError` if a field is invalid."""
    if not isinstance(server, ApiServer):
        raise ConfigError("server", expected="an ApiServer", actual=type(server).__name__)
    _check_url(server.base_url)
    for name, maximum in _LIMITS.items():
        value = getattr(server, name)
        if name == "requests_per_minute" and value is None:
            continue
        if type(value) is not int or not 1 <= value <= maximum:
            raise ConfigError(name, expected=f"an integer from 1 to {maximum}", actual=repr(value))
    for name in ("connect_timeout", "read_timeout", "max_backoff", "timeout"):
        check_timeout(getattr(server, name), name)


def _check_url(url: object) -> None:
    """Raise `ConfigError` for an invalid base URL, whose value may have a password and is not repeated."""
    expected = "a URL with http or https and a host, without user, query and fragment"
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
        is_valid = (
            parts is not None
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and not (parts.username or parts.password or parts.query or parts.fragment or "?" in str(url))
            and parts.port != 0
        )
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError("base_url", expected=expected, actual="another value")


def read_key(variable: str | None) -> Secret | None:
    """Return the key in an environment variable; None without a variable.

    :raises ConfigError: if the variable is missing, empty or not printable ASCII; the value is not repeated.
    """
    if variable is None:
        return None
    if not isinstance(variable, str) or not variable:
        raise ConfigError("api_key_env", expected="the name of an environment variable", actual=repr(variable))
    value = os.environ.get(variable)
    if value is None:
        raise ConfigError("api_key_env", expected=f"a key in the environment variable {variable}", actual="none")
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError("api_key_env", expected=f"printable ASCII in {variable}", actual="another value")
    return Secret(value)


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is the literal of a loopback address; a name such as localhost is not."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def check_local(url: str, local_only: bool) -> None:
    """Raise `BackendError` with the code `not_local` if a server must be on this machine and is not."""
    if is_local_only(local_only) and not is_loopback(url):
        expected = "a loopback address such as http://127.0.0.1:8080/v1"
        raise not_local("a server", expected=expected, actual=urlsplit(url).hostname)
