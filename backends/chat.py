"""Answers of language models: one message of the user, streamed and read to the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtime.answers import Usage
from ..runtime.meter import Meter
from . import verdicts
from .models import ChatSettings
from .remote import usage_of
from .wire import Wire

_DONE = "[DONE]"


@dataclass(frozen=True)
class Completion:
    """A complete answer; `finish_reason` is `stop`, or `length` if the limit of tokens cut it."""

    text: str
    finish_reason: str
    usage: Usage | None


class CompletionReader:
    """Reads the events of a streamed answer, which ends with a reason and `[DONE]`."""

    def __init__(self, who: str, on_token: Callable[[str], None] | None = None) -> None:
        """Begin an answer.

        :param who: names the backend in messages.
        :param on_token: called with every new part of the text; after that, the request is not sent again.
        """
        self.has_shown = False
        self._who = who
        self._on_token = on_token
        self._parts: list[str] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._is_done = False
        self._is_refused = False

    def feed(self, event: str) -> None:
        """Read the data of one event.

        :raises Failure: if it is an error, is not JSON, or has an invalid value.
        """
        if event == _DONE:
            self._is_done = True
            return
        try:
            data = json.loads(event)
        except (ValueError, RecursionError):
            raise verdicts.unreadable("an event is not JSON", self._who) from None
        if isinstance(data, dict) and data.get("error") is not None:
            raise verdicts.error_event(data["error"], self._who)
        try:
            self._read(data)
        except (KeyError, TypeError, LookupError, AttributeError):
            raise verdicts.off_schema("an event has an invalid value", self._who) from None

    def _read(self, data: Any) -> None:
        self._usage = usage_of(data) or self._usage
        for choice in data["choices"]:
            delta = choice["delta"]
            self._is_refused = self._is_refused or bool(delta.get("refusal"))
            self._add(delta.get("content"))
            reason = choice.get("finish_reason")
            self._finish_reason = self._finish_reason if reason is None else str(reason)

    def _add(self, text: object) -> None:
        if text is None or text == "":
            return
        if not isinstance(text, str):
            raise TypeError("not a text")
        self._parts.append(text)
        if self._on_token is not None:
            self.has_shown = True
            self._on_token(text)

    def result(self) -> Completion:
        """Return the answer after the last event.

        :raises Failure: if the stream ended early, or if the model refuses to answer.
        """
        if not self._is_done or self._finish_reason is None:
            raise verdicts.incomplete("the stream ended before the answer did", self._who)
        if self._is_refused or self._finish_reason == "content_filter":
            raise verdicts.refused_by_model(self._who)
        return Completion("".join(self._parts), self._finish_reason, self._usage)


@dataclass(frozen=True)
class Asked:
    """What one request asks: the content of the message, and what differs from the settings of the model."""

    content: str
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None


def chat_body(model: str, asked: Asked, settings: ChatSettings) -> dict[str, Any]:
    """Return the body of a request; texts are values of it, which cannot change its structure."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": asked.content}]}
    body |= {"stream": True, "stream_options": {"include_usage": True}, settings.limit_key: asked.max_tokens}
    body |= dict(settings.extra)
    temperature = settings.temperature if asked.temperature is None else asked.temperature
    for name, value in (("temperature", temperature), ("seed", asked.seed), ("response_format", asked.response_format)):
        if value is not None:
            body[name] = value
    return body


async def complete(
    wire: Wire,
    body: dict[str, Any],
    *,
    meter: Meter,
    ends: float | None,
    on_token: Callable[[str], None] | None = None,
) -> Completion:
    """Ask a language model and return its complete answer.

    :param ends: when the time of the call is over, by `time.monotonic`.
    :raises OnnxMlBridgeError: the error of the last attempt.
    """

    def new_reader() -> CompletionReader:
        return CompletionReader(wire.who, on_token)

    return await wire.stream("/chat/completions", body, new_reader, meter=meter, ends=ends)
