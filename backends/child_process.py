"""A child process that ends with its parent, within limits of memory, and whose last messages are kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.errors import ConfigError, DependencyError
from ..runtime.memory import group_bytes

# The seconds that a child has to end when its standard input is closed
_END_SECONDS = 2.0
# Without it, a llama.cpp that crashes runs a debugger on itself and ends many seconds later
_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}
_SUPERVISOR = Path(__file__).with_name("supervise.py")


class ChildProcess:
    """A running child. It is ended by `end`, and by the end of this process."""

    def __init__(self, command: Sequence[str], *, memory_mb: int | None, ends_with_input: bool) -> None:
        """Start a command.

        :param memory_mb: the limit of its address space in MiB; None is no limit.
        :param ends_with_input: whether the command ends when its standard input is closed; another one is supervised.
        :raises DependencyError: if the program is not there or cannot be started.
        :raises ConfigError: for a memory limit on a system that has none for other processes.
        """
        if shutil.which(command[0]) is None:  # a supervisor would only report a status
            raise _missing(command, "no such program")
        supervised = [] if ends_with_input else [sys.executable, "-I", str(_SUPERVISOR)]
        pipe, environment = subprocess.PIPE, {**os.environ, **_ENVIRONMENT}
        try:
            self._process = subprocess.Popen(
                [*supervised, *command],
                stdin=pipe,
                stdout=subprocess.DEVNULL,
                stderr=pipe,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise _missing(command, error.strerror or "") from error
        self._lines: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._read_errors, name="onnx-ml-bridge child", daemon=True)
        self._reader.start()
        try:
            if memory_mb is not None:
                _limit_memory(self._process.pid, memory_mb)
            self._write_line()
        except BaseException:
            self.end()
            raise

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the child runs."""
        return self._process.poll()

    @property
    def last_message(self) -> str:
        """The last line that a child that ended wrote to its standard error."""
        self._reader.join(1)
        return next((line for line in reversed(self._lines) if line), "no message")

    def resident_bytes(self) -> int:
        """Return the memory of the child and of those that it started, in bytes; 0 where the system does not tell."""
        return group_bytes(self._process.pid)

    def end(self) -> None:
        """End the child, and those that it started."""
        self.abandon()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS if self.status is None else 0)
        with contextlib.suppress(OSError):  # the group is gone if all its processes have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def abandon(self) -> None:
        """Close this process's end of the child's standard input; a process that was forked has one too."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _write_line(self) -> None:
        """Let a supervisor start its command."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the child has ended, which its status tells
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line[:500].decode("utf-8", "replace").strip())


def _missing(command: Sequence[str], reason: str) -> DependencyError:
    return DependencyError(f"{command[0]} cannot be started: {reason}", hint="Install it, or change `command`.")


def _limit_memory(pid: int, memory_mb: int) -> None:
    import resource

    if not hasattr(resource, "prlimit"):
        raise ConfigError("memory_mb", expected="None, because only Linux limits other processes", actual=memory_mb)
    limit = memory_mb << 20
    with contextlib.suppress(ProcessLookupError):  # the child has ended, which its status tells
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
