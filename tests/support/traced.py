"""Run a program under strace, which records the calls that change files, kills it at one of them, or fails one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

# The system calls that change files, or write them to disk.
CHANGING = ("openat", "mkdir", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir")
CHANGING += ("fsync", "fdatasync", "write", "pwrite64", "ftruncate", "copy_file_range", "sendfile", "utimensat")
# Only their first path is one that strace finds them by: the bytes that are written can be a path, too
_BY_FIRST_PATH = ("write", "pwrite64", "rename")
ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE")
_LINE = re.compile(r"^(\d+) +(\w+)\(")
# The paths in a call: that of a file descriptor, or an argument
_PATH = re.compile(r"[<\"](/[^>\"]*)[>\"]")
# Random names
_OTHER_IN_EACH_RUN = re.compile(r"\.[0-9a-f]{16}\.tmp$|/removed-[^/]+|/\.[^/]+\.[a-z0-9_]{8}(/|$)")
# How often an interruption is tried again that hit a call of another thread
_TRIES = 40
# The seconds in which a program has to end: a library whose own calls fail may wait forever
_LIMIT = 300

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of a system call by one thread of a program, from 1, and its line in the trace.

    With a path, only the calls with this path are counted. `is_main` says whether the thread is the first one.
    """

    call: str
    number: int
    line: str
    path: str | None = None
    is_main: bool = False


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, negative for a signal, its standard error, and the call that was hit."""

    status: int
    error: str
    hit: str = ""


class Stopped(Protocol):
    """A program that starts with a stop, so that strace can attach to it."""

    def start(self) -> int:
        """Return the number of a process that is stopped."""

    def end(self) -> Ended:
        """Wait for the end of the process, and return how it ended."""


Program = Sequence[str] | Stopped


def changing_points(
    command: Program, root: Path, log: Path, calls: Sequence[str] = CHANGING, *, by_path: bool = False
) -> list[Point]:
    """Run a program and return its calls that change what is below `root`, in their order.

    :param by_path: number the calls with one path, if the path is the same in each run. Programs with threads, such as
        those of a network library, make the other calls in another order each time.
    """
    done = _run(command, log, calls, ())
    assert done.status == 0, done.error
    counts: Counter[tuple[str, ...]] = Counter()
    points = []
    lines = log.read_text(errors="replace").splitlines()
    process = lines[0].partition(" ")[0]
    for line in lines:
        if not (found := _LINE.match(line)):
            continue
        thread, call = found.groups()
        shown = line.partition(", ")[0] if call in _BY_FIRST_PATH else line
        paths = [path for path in _PATH.findall(shown) if path.startswith(str(root))]
        stable = [path for path in paths if by_path and not _OTHER_IN_EACH_RUN.search(path)]
        counts.update([(thread, call), *((thread, call, path) for path in set(stable))])
        if not paths or (call == "openat" and "O_CREAT" not in line):
            continue
        number = counts[thread, call, stable[0]] if stable else counts[thread, call]
        points.append(Point(call, number, line, stable[0] if stable else None, thread == process))
    return points


def interrupted_at(
    command: Program, root: Path, point: Point, kind: str, log: Path, prepare: Callable[[], object]
) -> Ended:
    """Run a program and let one of its calls below `root` be the last one (the kind `KILL`), or fail with an error.

    A call without a path of its own is hit by its number only, which is another one if the thread wakes others more or
    less often: if that was a call elsewhere, the run is repeated with a number near it.

    :param prepare: is called before each run.
    """
    for attempt in range(_TRIES):
        prepare()
        near = replace(point, number=_near(point.number, attempt))
        ended = _injected(command, near, kind, log, must_hit=point.path is not None)
        # strace counts for each thread, so that a call of another one can fail, too
        if point.path is not None or (str(root) in ended.hit and ended.hit.count("(INJECTED)") <= 1):
            return ended
    raise AssertionError(f"only other calls were interrupted: {point} {ended}")


def _near(number: int, attempt: int) -> int:
    """Return the number itself, then those up to 5 around it in turns, such as 7, 8, 6, 9, 5, and all of them again."""
    distance = (attempt % 11 + 1) // 2
    return max(1, number + distance if attempt % 11 % 2 else number - distance)


def killed_at(command: Program, point: Point, log: Path) -> Ended:
    """Run a program and kill it right before one of its calls."""
    return _injected(command, point, "KILL", log)


def failed_at(command: Program, point: Point, error: str, log: Path) -> Ended:
    """Run a program and let one of its calls fail."""
    return _injected(command, point, error, log)


def _injected(command: Program, point: Point, kind: str, log: Path, *, must_hit: bool = True) -> Ended:
    what = f"{'signal=KILL' if kind == 'KILL' else f'error={kind}'}:when={point.number}"
    path = () if point.path is None else ("-P", point.path)
    # strace counts the calls of each thread: those of the others would be hit, too
    is_followed = point.path is not None or not point.is_main
    ended = _run(command, log, [point.call], [*path, "-e", f"inject={point.call}:{what}"], is_followed)
    lines = log.read_text(errors="replace").splitlines()
    is_killed = any("killed by SIGKILL" in line for line in lines)
    is_hit = is_killed or any("(INJECTED)" in line for line in lines)
    assert is_hit or not must_hit, f"strace injected nothing: {point} {lines[-5:]}"
    return replace(ended, hit="\n".join(_hit(lines)))


def _hit(lines: Sequence[str]) -> list[str]:
    """Return the lines of a trace with calls that failed as they were told to, or that no thread returned from.

    strace writes a call on two lines if another thread writes one meanwhile.
    """
    hit, begun = [], {}
    for line in lines:
        thread = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line
        if "(INJECTED)" in line or line.endswith(" = ?"):
            hit += [begun[thread], line] if "resumed>" in line and thread in begun else [line]
    return hit


def _run(command: Program, log: Path, calls: Sequence[str], options: Sequence[str], is_followed: bool = True) -> Ended:
    """Run a program under strace; `is_followed` says whether its other threads and processes are traced, too."""
    follow = ("-f",) if is_followed else ()
    strace = ["strace", *follow, "-y", "-qq", "-o", str(log), "-e", f"trace={','.join(calls)}", *options]
    if not isinstance(command, list | tuple):
        return _attached(command, strace)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        # With -D the program is this child. The pipes end when strace ends, after its log was written.
        done = subprocess.run(
            [*strace, "-D", *command], capture_output=True, text=True, check=False, env=environment, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired as error:
        return Ended(124, f"the program did not end within {error.timeout} seconds")
    return Ended(done.returncode, done.stderr)


def _attached(program: Stopped, strace: Sequence[str]) -> Ended:
    process = program.start()
    tracer = subprocess.Popen([*strace, "-p", str(process)])
    status = Path(f"/proc/{process}/status")
    while re.search(r"^TracerPid:\s+0$", status.read_text(), re.MULTILINE):
        assert tracer.poll() is None, "strace ended before it was attached"
        time.sleep(0.005)
    os.kill(process, signal.SIGCONT)
    ended = program.end()
    tracer.wait()
    return ended
