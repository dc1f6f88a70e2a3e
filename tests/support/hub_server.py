"""A local server that speaks the part of the hub's API that downloads use, and fails in the ways of networks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/model"


@dataclass
class Hub:
    """What the server has and how it behaves; `requests` counts the requests by method and path.

    `statuses` has the statuses of the next answers to the paths that contain a text. `cut` closes the connections of
    the first answers for a file after these numbers of bytes. `flip` changes the first byte of a file. `ranges` has the
    ranges of requests.
    """

    files: Mapping[str, bytes]
    token: str | None = None
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    flip: set[str] = field(default_factory=set)
    is_proxy: bool = False
    requests: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    address: str = ""


def etag(name: str, raw: bytes) -> str:
    """Return the hash that the hub names: SHA-256 of weights, Git's hash of other files."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(raw).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests[f"{self.command} {path}"] += 1
        if hub.is_proxy != self.path.startswith("http://hub.test/"):
            return self._send(502, b"the request did not come through the proxy", body=body)
        for text, statuses in hub.statuses.items():
            if text in path and statuses:
                return self._send(statuses.pop(0), b"{}", {"Retry-After": "1"}, body=body)
        if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._send(401, b"{}", body=body)
        if path.startswith(f"/api/models/{MODEL}/revision/"):
            return self._revision(path.rpartition("/")[2], body)
        if path.startswith(f"/api/models/{MODEL}/tree/{COMMIT}"):
            return self._send_json([self._entry(name) for name in hub.files], body)
        name = path.removeprefix(f"/{MODEL}/resolve/{COMMIT}/")
        if name in hub.files:
            return self._send_file(name, body)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)

    def _revision(self, revision: str, body: bool) -> None:
        if revision not in ("main", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        siblings = [{"rfilename": name} for name in self.hub.files]
        return self._send_json({"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": siblings}, body)

    def _entry(self, name: str) -> dict[str, Any]:
        raw = self.hub.files[name]
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(raw), "oid": etag("", raw)}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": etag(name, raw), "size": len(raw), "pointerSize": 134}
        return entry

    def _send_file(self, name: str, body: bool) -> None:
        raw = self.hub.files[name]
        headers = {"ETag": f'"{etag(name, raw)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in self.hub.flip:
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        asked = self.headers.get("Range")
        if body and asked is not None:
            self.hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
            return self._send(206, raw[start:], headers, body=True)
        if body and self.hub.cut.get(name):
            return self._send(200, raw, headers, body=True, cut=self.hub.cut[name].pop(0))
        return self._send(200, raw, headers, body=body)

    def _send_json(self, value: Any, body: bool) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _send(
        self, status: int, raw: bytes, headers: Mapping[str, str] | None = None, *, body: bool, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub at a free port of this computer until the end of the `with` statement."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
