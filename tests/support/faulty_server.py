"""Starts faulty.py in a process of its own, tells it what to corrupt, and asks it what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_ml_bridge import CancelToken

PROGRAM = Path(__file__).parent / "faulty.py"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class FaultyServer:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *faults: str) -> None:
        """The next requests get these faults; what was seen is forgotten."""
        self._ask("/script", json.dumps(faults).encode())

    def seen(self) -> dict[str, Any]:
        return json.loads(self._ask("/seen", None))

    def requests(self) -> list[dict[str, Any]]:
        return self.seen()["requests"]

    def cancel_at_a_request(self, token: CancelToken) -> None:
        """Cancel a token as soon as a request has reached the server, in a thread of its own."""

        def cancel() -> None:
            while not self.requests():
                time.sleep(0.01)
            token.cancel()

        threading.Thread(target=cancel, daemon=True).start()

    def _ask(self, path: str, data: bytes | None) -> bytes:
        with _OPENER.open(f"http://127.0.0.1:{self.port}{path}", data, timeout=60) as answer:
            return answer.read()


@contextmanager
def faulty_server(arguments: Sequence[str] = ()) -> Iterator[FaultyServer]:
    command = [sys.executable, str(PROGRAM), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FaultyServer(int(process.stdout.readline().split()[1]))
        finally:
            process.kill()
