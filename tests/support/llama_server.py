"""Starts llama.cpp's own server on a loopback port, as the official SDK and raw requests need it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class LlamaServer:
    """A running server; `address` is its URL without a path."""

    address: str

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with _OPENER.open(request, timeout=30) as answer:
            return json.loads(answer.read())

    def prompt_of(self, content: str) -> str:
        """The prompt that the template of the file makes of a message."""
        return self.ask("/apply-template", {"messages": [{"role": "user", "content": content}]})["prompt"]

    def is_processing(self) -> bool:
        return any(slot["is_processing"] for slot in self.ask("/slots"))


@contextmanager
def llama_server(file: Path, *arguments: str) -> Iterator[LlamaServer]:
    module = [sys.executable, "-m", "onnx_ml_bridge.backends.llama_child"]
    command = [*module, "--model", str(file), "--port", "0", "--threads", "1", "--no-warmup", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield LlamaServer(process.stdout.readline().split()[1])
        finally:
            process.kill()
