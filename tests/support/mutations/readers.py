"""Child processes that answer with verdicts, under limits of time and memory."""

from __future__ import annotations

import os
import re
import resource
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples import VALID

SECONDS = 1.0
MEMORY = 256 << 20
# How long the parent waits for an answer; the computer can be busy
_PATIENCE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Reader:
    """A child process that runs `command`; it is started again when it has died.

    After `warm_up` calls, the child may use 256 MiB of address space more than it has then.
    """

    command: Sequence[str]
    warm_up: Sequence[tuple[str, Path]] = ()
    _child: subprocess.Popen[str] | None = field(default=None, init=False)
    # The longest call except `replay`, which runs graphs: the time of the processor in seconds, and what it was
    slowest: tuple[float, str] = field(default=(0.0, ""), init=False)

    def verdict(self, word: str, path: Path) -> str:
        """Return the verdict on a file or folder: a code, `valid`, or what went wrong (`crash:...`, `died:...`)."""
        child = self._child or self._start()
        before = _processor_seconds(child.pid)
        answer = self._ask(child, word, path)
        if answer is None:
            self.close()
            return f"died:{child.returncode}"
        code = answer.split()[0]
        if word != "replay":
            self.slowest = max(self.slowest, (_processor_seconds(child.pid) - before, f"{word} {code}"))
        return code

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "RUST_BACKTRACE": "0", "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        self._child = child
        for word, path in self.warm_up:
            answer = self._ask(child, word, path)
            assert answer is not None and answer.split()[0] == "valid", (self.command, word, path, answer)
        self._ask(child, "verify", VALID / "no-artifact")
        status = Path(f"/proc/{child.pid}/status").read_text()
        used = int(re.findall(r"VmSize:\s+(\d+) kB", status)[0]) << 10
        resource.prlimit(child.pid, resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        return child

    def _ask(self, child: subprocess.Popen[str], word: str, path: Path) -> str | None:
        """Return the line of the answer; None if the child died or does not answer, and then it is killed."""
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(f"{word} {path}\n")
            child.stdin.flush()
        except BrokenPipeError:
            pass
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            if not selector.select(_PATIENCE):
                child.kill()
        line = child.stdout.readline()
        if not line:
            child.wait()
        return line or None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def _processor_seconds(process: int) -> float:
    """Return how long a process has run on the processors so far, in steps of a hundredth of a second."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


PYTHON = (sys.executable, str(Path(__file__).with_name("server.py")))
