"""Splits a stream of server-sent events into the data of its events."""

from __future__ import annotations

from collections.abc import Iterator

# The maximum size of a line in bytes; one token has a few hundred.
MAX_LINE = 1 << 20


class EventStream:
    """Collects bytes and returns the data of each complete event. Lines end with LF or CRLF."""

    def __init__(self) -> None:
        """Create a stream without bytes."""
        self._rest = b""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the data of the events that these bytes complete; lines of data are joined by newlines.

        :raises ValueError: if a line is longer than `MAX_LINE`.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise ValueError("a line of the stream is too long")
        for line in lines:
            text = line.removesuffix(b"\r").decode("utf-8", "replace")
            if not text and self._data:
                event, self._data = "\n".join(self._data), []
                yield event
            name, _, value = text.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
