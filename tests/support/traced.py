"""Run a program under strace, which records the calls that change files, kills it at one of them, or fails one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# The system calls that change files, or write them to disk.
CHANGING = ("openat", "mkdir", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir")
CHANGING += ("fsync", "fdatasync", "write", "pwrite64", "ftruncate", "copy_file_range", "sendfile", "utimensat")
ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE")
_LINE = re.compile(r"^(\d+) +(\w+)\(")

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of a system call by one thread of a program, from 1, and its line in the trace."""

    call: str
    number: int
    line: str


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, negative for a signal, and its standard error."""

    status: int
    error: str


def changing_points(command: Sequence[str], root: Path, log: Path) -> list[Point]:
    """Run a program and return its calls that change what is below `root`, in their order."""
    done = _run(command, log, CHANGING, ())
    assert done.status == 0, done.error
    counts: Counter[tuple[str, str]] = Counter()
    points = []
    for line in log.read_text(errors="replace").splitlines():
        if not (found := _LINE.match(line)):
            continue
        thread, call = found.groups()
        counts[thread, call] += 1
        is_writing = call != "openat" or "O_CREAT" in line
        if str(root) in line and is_writing:
            points.append(Point(call, counts[thread, call], line))
    return points


def killed_at(command: Sequence[str], point: Point, log: Path) -> Ended:
    """Run a program and kill it right before one of its calls."""
    return _injected(command, point, f"signal=KILL:when={point.number}", log)


def failed_at(command: Sequence[str], point: Point, error: str, log: Path) -> Ended:
    """Run a program and let one of its calls fail."""
    return _injected(command, point, f"error={error}:when={point.number}", log)


def _injected(command: Sequence[str], point: Point, what: str, log: Path) -> Ended:
    ended = _run(command, log, [point.call], ["-e", f"inject={point.call}:{what}"])
    text = log.read_text(errors="replace")
    assert "INJECTED" in text or "killed by SIGKILL" in text, f"strace injected nothing: {point} {text[-400:]}"
    return ended


def _run(command: Sequence[str], log: Path, calls: Sequence[str], options: Sequence[str]) -> Ended:
    line = ["strace", "-f", "-y", "-qq", "-o", str(log), "-e", f"trace={','.join(calls)}", *options, *command]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    return Ended(done.returncode, done.stderr)
