"""Says what an answer of a server that is not a good one means: the error, and whether the request is sent again.

The tables are those of docs/backends.md. Messages never have what a server wrote, which may quote the key or a text.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..artifacts.errors import BackendError, InferenceError, InputError, OnnxMlBridgeError

_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_CONTEXT_MESSAGE = "too large to process"
_QUOTA = "insufficient_quota"
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
# Seconds; longer waits are all the same
_LONGEST = 365.0 * 24 * 3600
# The statuses of the types and codes that error events of streams have
_EVENT_STATUSES = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_request_error": 400,
}
# The types and codes that messages repeat; any other may quote the key or a text.
_KNOWN = {
    *_CONTEXT_CODES,
    *_EVENT_STATUSES,
    _QUOTA,
    "invalid_api_key",
    "model_not_found",
    "not_supported_error",
    "server_error",
    "unavailable_error",
    "unsupported_parameter",
    "unsupported_value",
}
_HINTS = {
    "auth": "Check the key and its environment variable.",
    "quota": "Add credit to the account.",
    "model_not_found": "Check the name of the model and the base URL.",
    "config": "Check the model's options in docs/backends.md.",
    "context_too_long": "Shorten the text.",
}


class Failure(Exception):
    """An attempt that failed; `again` tells whether the request may be sent again."""

    def __init__(self, error: OnnxMlBridgeError, *, again: bool = False) -> None:
        """Wrap the error that the call raises if this was the last attempt."""
        super().__init__(error.code)
        self.error = error
        self.again = again

    @property
    def retry_after(self) -> float | None:
        """The seconds after which the server allows another request; None if it did not say."""
        return self.error.retry_after if isinstance(self.error, BackendError) else None


@dataclass(frozen=True)
class _Reason:
    """The type, the code and the message of an error of a server; empty if it has none."""

    kind: str = ""
    code: str = ""
    message: str = ""

    @property
    def known(self) -> str:
        """The type or the code, if messages may repeat it."""
        return next((each for each in (self.code, self.kind) if each in _KNOWN), "")


def refused(status: int, body: bytes, headers: Mapping[str, str], who: str) -> Failure:
    """Return the failure of an answer with another status than 200.

    :param who: names the model in messages.
    """
    try:
        reason = _reason(json.loads(body))
    except (ValueError, RecursionError):
        reason = _Reason(message=body[:1000].decode("utf-8", "replace"))
    return _failure(status, reason, retry_after(headers), who)


def error_event(error: Any, who: str) -> Failure:
    """Return the failure of an event `error` within a stream with the status 200."""
    reason = _reason({"error": error})
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        status = code
    else:
        status = _EVENT_STATUSES.get(reason.code) or _EVENT_STATUSES.get(reason.kind, 500)
    return _failure(status, reason, None, who)


def incomplete(what: str, who: str) -> Failure:
    """Return the failure of a request without a complete answer, which may be sent again."""
    return Failure(BackendError("upstream", f"{who}: {what}"), again=True)


def unreadable(what: str, who: str) -> Failure:
    """Return the failure of a complete answer that cannot be read; it is not asked for again."""
    return Failure(BackendError("upstream", f"{who}: {what}"))


def off_schema(what: str, who: str) -> Failure:
    """Return the failure of a complete answer with an invalid value."""
    return Failure(InferenceError(f"{who}: {what}"))


def refused_by_model(who: str) -> Failure:
    """Return the failure of a model that refuses to answer, or whose answer a filter removed."""
    return Failure(InputError("refused", f"{who} refuses to answer"))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that a server asks to wait, at least 0; None if it does not, or if they cannot be read.

    :param headers: names in lower case.
    :param now: the time in seconds since 1970; None is the current one.
    """
    wait = _seconds(headers.get("retry-after-ms", ""), per_second=1000)
    if wait is None:
        value = headers.get("retry-after", "")
        wait = _seconds(value, per_second=1)
        if wait is None:
            wait = _seconds_until(value, time.time() if now is None else now)
    return wait


def _seconds(text: str, *, per_second: int) -> float | None:
    """Return the seconds of a number in decimal digits, at most `_LONGEST`; None for another text."""
    return min(float(text) / per_second, _LONGEST) if _DECIMAL.fullmatch(text.strip()) else None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def _reason(body: Any) -> _Reason:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return _Reason(str(error.get("type")), str(error.get("code")), str(error.get("message"))[:1000])
    return _Reason(message=str(error)[:1000])


def _failure(status: int, reason: _Reason, wait: float | None, who: str) -> Failure:
    code, again = _code(status, reason)
    what = f"{who}: the server answered {status}{f' ({reason.known})' if reason.known else ''}"
    if code == "context_too_long":
        return Failure(InputError(code, f"{what}, the text is too long for the model"))
    return Failure(BackendError(code, what, status=status, retry_after=wait, hint=_HINTS.get(code)), again=again)


def _code(status: int, reason: _Reason) -> tuple[str, bool]:
    """Return the code of an answer, and whether the request may be sent again."""
    names = {reason.kind, reason.code}
    if status in (401, 403):
        return "auth", False
    if status == 402 or _QUOTA in names:
        return "quota", False
    if status == 413 or names & _CONTEXT_CODES or _CONTEXT_MESSAGE in reason.message:
        return "context_too_long", False
    if status == 429:
        return "rate_limited", True
    if status in (408, 409, 425) or status >= 500:
        return "upstream", True
    if status >= 400:
        return "model_not_found" if status == 404 else "config", False
    return "upstream", False
