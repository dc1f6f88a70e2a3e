"""Builds that strace can interrupt: the forks of `build_server.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traced import Ended


class ForkedBuilds:
    """Builds `FOLDER/out/toy`, in a version, in a process of its own each time."""

    def __init__(self, folder: Path) -> None:
        self.out, self.version = folder / "out", ""
        self._error = folder / "error"
        script = Path(__file__).with_name("build_server.py")
        self._server = subprocess.Popen(
            [sys.executable, "-B", script, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self) -> int:
        """Return the number of a process that is stopped before it builds."""
        self._error.unlink(missing_ok=True)
        assert self._server.stdin is not None
        self._server.stdin.write(f"{self.version}\n")
        self._server.stdin.flush()
        return self._answer()

    def end(self) -> Ended:
        """Wait for the end of the build."""
        status = self._answer()
        return Ended(status, self._error.read_text(encoding="utf-8") if self._error.exists() else "")

    def stop(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


@contextmanager
def forked_builds(folder: Path) -> Iterator[ForkedBuilds]:
    """Start the server, which takes seconds, and stop it at the end of the context."""
    builds = ForkedBuilds(folder)
    try:
        yield builds
    finally:
        builds.stop()
