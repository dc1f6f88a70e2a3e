"""Servers of stores on this machine: a web server with faults, and one that speaks S3."""

from __future__ import annotations

import io
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

_ROOT = Path(__file__).parents[2]
BUCKET = "models"


class WebServer:
    """Serves a folder, with ranges or without, and with faults."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.has_ranges = True
        # Answers every request with this status, if it is not None
        self.status: int | None = None
        # The bytes of an answer to a path, for faults: a shorter one is cut in the middle of the connection
        self.fault: Callable[[str, bytes], bytes] = lambda path, body: body
        # Changes a file before it is served, if it is not None
        self.change: Callable[[str, bytes], bytes] | None = None
        self.requests: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *arguments: Any) -> None:
        """Print nothing: clients that are killed reset their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    web: WebServer

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        key = unquote(self.path.partition("?")[0]).lstrip("/")
        with self.web.lock:
            self.web.requests[key] += 1
            self.web.headers.append(dict(self.headers))
        path = self.web.root / key
        if self.web.status is not None or not path.is_file():
            self._answer(self.web.status or 404, b"", {})
            return
        changed = None if self.web.change is None else self.web.change(key, path.read_bytes())
        with path.open("rb") if changed is None else io.BytesIO(changed) as file:
            size = file.seek(0, os.SEEK_END)
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
            file.seek(start)
            if found is None or not self.web.has_ranges:
                file.seek(0)
                self._answer(200, file.read(), {})
            elif start >= size:
                self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            else:
                self._answer(206, file.read(end - start), {"Content-Range": f"bytes {start}-{end - 1}/{size}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = self.web.fault(self.path, body)
        try:
            for start in range(0, len(sent), 1 << 16):
                self.wfile.write(sent[start : start + (1 << 16)])
                with self.web.lock:
                    self.web.sent += len(sent[start : start + (1 << 16)])
        except OSError:
            self.close_connection = True  # the client has gone
        if len(sent) != len(body):
            self.close_connection = True


@contextmanager
def web_server(root: Path) -> Iterator[WebServer]:
    """Serve a folder."""
    server = WebServer(root)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run a server that speaks S3; yield the environment of its clients. Skips without its libraries.

    ONNX_ML_BRIDGE_S3_SERVER=1 uses the server and the credentials in the environment, and its bucket `models`.
    """
    if os.environ.get("ONNX_ML_BRIDGE_S3_SERVER"):
        # Without them the library would ask the metadata service of a cloud
        yield {name: os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return
    python = Path(os.environ.get("ONNX_ML_BRIDGE_S3_PYTHON", _ROOT / ".venv-s3" / "bin" / "python"))
    if not python.is_file():
        pytest.skip("the S3 server is not installed: make test-s3")
    script = Path(__file__).with_name("s3_server.py")
    process = subprocess.Popen([python, script, BUCKET], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdecimal(), "the S3 server did not start"
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testtest",
        }
    finally:
        process.kill()
        process.wait()
