"""A server of OpenAI's protocol on loopback that gives known entities for known texts, as a language model would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    """A server with its answers: the entities by the content of the message."""

    daemon_threads = True
    request_queue_size = 64
    answers: Mapping[str, Sequence[Mapping[str, str]]]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        entities = self.server.answers[request["messages"][0]["content"]]
        choice = {"index": 0, "delta": {"content": json.dumps({"entities": entities})}, "finish_reason": "stop"}
        data = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def copying_server(answers: Mapping[str, Sequence[Mapping[str, str]]]) -> Iterator[str]:
    """Run a server; the value is its base URL.

    :param answers: the entities by the content of the message, which has to be the text alone.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answers = answers
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
