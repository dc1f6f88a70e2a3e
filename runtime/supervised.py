"""Run a child process that prints one JSON object per line, and stop it when it makes no progress."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

from ..artifacts.errors import ArtifactError, StoppedError
from ..artifacts.reading import reading_errors


def child_events(
    command: Sequence[str], what: str, *, silence: float, timeout: float | None = None
) -> Iterator[dict[str, Any]]:
    """Run a command and yield the JSON objects that it prints; the command is killed if the caller stops early.

    :param what: what the command does, for error messages.
    :param silence: the maximum number of seconds between two objects.
    :param timeout: the maximum number of seconds of the whole command; None means no limit.
    :raises StoppedError: with the code `timeout` if one of the limits is exceeded.
    :raises ArtifactError: with the code `graph` if the command fails, or prints anything else; with the code `io` if it
        cannot be started.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with (
        reading_errors(),
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as child,
    ):
        try:
            lines = _lines_of(child)
            while line := _next_line(lines, what, silence, deadline):
                yield _parse(line, what)
            if child.wait():
                raise ArtifactError("graph", f"{what} failed with exit status {child.returncode}: {_last_line(errors)}")
        finally:
            child.kill()


def _lines_of(child: subprocess.Popen[bytes]) -> queue.Queue[bytes]:
    """Read the output of a child in another thread; at the end of the output, the queue has an empty line."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next_line(lines: queue.Queue[bytes], what: str, silence: float, deadline: float | None) -> bytes:
    rest = None if deadline is None else deadline - time.monotonic()
    try:
        return lines.get(timeout=silence if rest is None else max(0, min(silence, rest)))
    except queue.Empty as error:
        problem = "exceeded its time limit"
        if rest is None or silence < rest:
            problem = f"made no progress for {silence:g} seconds"
        raise StoppedError("timeout", f"{what} {problem}") from error


def _parse(line: bytes, what: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ArtifactError("graph", f"{what} printed an invalid line: {line[:200]!r}") from error
    if not isinstance(event, dict):
        raise ArtifactError("graph", f"{what} printed an invalid line: {line[:200]!r}")
    return event


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(max(0, errors.seek(0, 2) - 2000))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
