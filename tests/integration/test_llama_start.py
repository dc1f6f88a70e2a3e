"""The start of llama.cpp's server and calls that are stopped meanwhile, with a server that answers everything."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onnx_ml_bridge import Gguf, InferenceError, LlamaCppMlBridge, StoppedError, SummarizeOptions
from onnx_ml_bridge.backends import llama_server
from onnx_ml_bridge.backends.llama_host import LlamaHost

pytest.importorskip("httpx2")
PATIENCE = 30.0
# Listens after the seconds of its first argument, and answers every request with 200
SERVER = """
import http.server, socketserver, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    do_POST = do_GET
    def log_message(self, *arguments):
        pass

class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("", 0)

time.sleep(float(sys.argv[1]))
Server(sys.argv[sys.argv.index("--host") + 1], Handler).serve_forever()
"""
STOPPED = SummarizeOptions(timeout=0.2)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., LlamaCppMlBridge]]:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"a file that this server does not read")
    bridges = []

    def opened(seconds: float, **options: float) -> LlamaCppMlBridge:
        command = [sys.executable, "-c", SERVER, str(seconds)]
        bridges.append(LlamaCppMlBridge.open(summarization=Gguf(file), ner=Gguf(file), command=command, **options))
        return bridges[-1]

    yield opened
    for bridge in bridges:
        bridge.close()


def host_of(bridge: LlamaCppMlBridge) -> LlamaHost:
    return bridge.summarizer().backend.host


def stop_a_call(bridge: LlamaCppMlBridge) -> llama_server.Server:
    """Stop a call while the server starts; return the server."""
    with pytest.raises(StoppedError):
        bridge.summarizer().summarize([["a"]], STOPPED)
    start = host_of(bridge)._start
    assert start is not None
    eventually(lambda: start.server is not None)
    assert start.server is not None
    return start.server


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_whose_call_was_stopped_is_used_after_the_start_limit(opened):
    bridge = opened(0.5, start_timeout=60)
    server = stop_a_call(bridge)
    start = host_of(bridge)._start
    assert start is not None
    eventually(start._is_done.is_set)
    start._limit.stop("timeout")  # as its timer does when the limit has passed
    bridge.warm_up()
    assert host_of(bridge)._server is server and server.is_running


def test_unload_ends_a_server_that_starts_for_nobody(opened):
    bridge = opened(60)
    server = stop_a_call(bridge)
    bridge.unload()
    assert not server.is_running
    assert [each.state for each in bridge.status()] == ["unloaded"] * 2


def test_close_ends_a_server_that_starts_for_nobody(opened):
    bridge = opened(60)
    server = stop_a_call(bridge)
    bridge.close()
    assert not server.is_running


def test_a_server_that_starts_for_nobody_ends_with_the_limit(opened):
    server = stop_a_call(opened(60, start_timeout=1))
    eventually(lambda: not server.is_running)


def test_a_server_that_no_call_uses_is_ended_and_started_again(opened, monkeypatch):
    monkeypatch.setattr(llama_server, "_UNUSED_SECONDS", 0.1)
    bridge = opened(0.5)
    server = stop_a_call(bridge)
    eventually(lambda: not server.is_running)
    bridge.warm_up()
    assert host_of(bridge)._server is not server


def test_a_dropped_bridge_ends_a_server_that_starts(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x")
    bridge = LlamaCppMlBridge.open(summarization=Gguf(file), command=[sys.executable, "-c", SERVER, "60"])
    server = stop_a_call(bridge)
    del bridge
    gc.collect()
    eventually(lambda: not server.is_running)


def test_a_start_that_failed_is_tried_again(opened):
    bridge = opened(60, start_timeout=0.3)
    for _ in range(2):
        with pytest.raises(InferenceError, match=r"did not start within 0\.3 s"):
            bridge.warm_up()
    assert host_of(bridge)._server is None
