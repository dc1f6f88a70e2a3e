"""Read lines from stdin as they arrive, with a limit on their length."""

from __future__ import annotations

import io
import os
import queue
import select
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# A function that waits for input and returns at most as many bytes as its argument says; no bytes at the end
Read = Callable[[int], bytes]
# The maximum size of one read in bytes
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Line:
    """An input line without its newline; `number` starts at 1, `raw` is None for a line that exceeds the size limit."""

    number: int
    raw: bytes | None


def arriving_lines(read: Read, max_lines: int, *, max_bytes: int) -> Iterator[list[Line]]:
    """Yield batches of lines: at least one line, and all others that have already arrived, up to `max_lines`.

    The lines of one read are in one batch if they are at most `max_lines`, so that the batches of a short input do not
    depend on the timing of threads. The bytes of a line beyond `max_bytes` are not kept in memory.

    :raises OSError: if the input cannot be read.
    """
    waiting: queue.Queue[list[Line] | OSError | None] = queue.Queue(maxsize=max_lines)
    threading.Thread(target=_read_into, args=(waiting, read, max_lines, max_bytes), daemon=True).start()
    lines: list[Line] = []
    while isinstance(item := waiting.get(), list):
        if len(lines) + len(item) > max_lines:
            yield lines
            lines = []
        lines += item
        if waiting.empty():
            yield lines
            lines = []
    if lines:
        yield lines
    if item is not None:
        raise item


def stdin_reader() -> Read:
    """Return a function that reads stdin, or an empty input if the process has no stdin.

    The function reads the file descriptor itself. If a thread waited for input within `sys.stdin.buffer`, it would hold
    the lock of this object, and the interpreter would abort when it ends.
    """
    if sys.stdin is None:
        return io.BytesIO().read
    try:
        descriptor = sys.stdin.fileno()
    except OSError:  # an object in memory has replaced stdin
        return sys.stdin.buffer.read
    return lambda size: _read_descriptor(descriptor, size)


def _read_descriptor(descriptor: int, size: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:  # another process has made the descriptor nonblocking
            select.select([descriptor], [], [])


def _read_into(waiting: queue.Queue[list[Line] | OSError | None], read: Read, max_lines: int, max_bytes: int) -> None:
    """Put the lines of the input into the queue, and at the end None or the `OSError` that stopped the reading."""
    try:
        for lines in _lines_of_reads(read, max_bytes):
            for start in range(0, len(lines), max_lines):
                waiting.put(lines[start : start + max_lines])
    except OSError as error:
        waiting.put(error)
    else:
        waiting.put(None)


def _lines_of_reads(read: Read, max_bytes: int) -> Iterator[list[Line]]:
    """Yield the lines that end in each read, and the last line of an input that does not end with a newline."""
    number, line = 1, bytearray()
    while chunk := read(_CHUNK_BYTES):
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            lines.append(_line(number, line + end, max_bytes))
            number, line = number + 1, bytearray()
        yield lines
        line += rest
        del line[max_bytes + 1 :]  # one byte above the limit is enough to see that the line is too long
    if line:
        yield [_line(number, line, max_bytes)]


def _line(number: int, raw: bytearray, max_bytes: int) -> Line:
    return Line(number, bytes(raw) if len(raw) <= max_bytes else None)
