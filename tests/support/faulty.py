"""A server of OpenAI's protocol on loopback that answers well, or corrupts its answers as it is told.

    python tests/support/faulty.py [--port 0] [--upstream HOST:PORT]

It prints `READY PORT`. `POST /script` takes a JSON list: the n-th request with POST gets the n-th fault, written as
`name` or `name:argument` as in tests/golden/backends.json; the requests after the list are answered well, by the server
itself or by `--upstream`. `GET /seen` returns what came since the last script: `requests` with the path, the fault, the
body, the header `authorization`, and the times of the arrival and of the end; and the maximum number of requests at the
same time, `max_in_flight`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import email.utils
import hashlib
import json
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

DIMENSIONS = 4
SUMMARY = ("The", " lease", " was", " signed.")
ENTITIES = {"entities": [{"before": "", "text": "Kofi", "label": "PERSON"}]}


@dataclass
class Request:
    """A request, and when it came and ended by the monotonic clock in seconds."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    fault: str = ""
    at: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def seen(self) -> dict[str, Any]:
        authorization = self.headers.get("authorization")
        names = ("path", "fault", "body", "at", "ended")
        return {**{name: getattr(self, name) for name in names}, "authorization": authorization}


class State:
    """The script and what was seen."""

    def __init__(self) -> None:
        self.restart([])

    def restart(self, script: list[str]) -> None:
        self.script, self.requests, self.in_flight, self.max_in_flight = script, [], 0, 0

    @contextlib.contextmanager
    def running(self, request: Request) -> Any:
        self.requests.append(request)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        request.fault = self.script.pop(0) if self.script else "ok"
        try:
            yield
        finally:
            self.in_flight -= 1
            request.ended = time.monotonic()

    def seen(self) -> dict[str, Any]:
        return {"requests": [request.seen() for request in self.requests], "max_in_flight": self.max_in_flight}


STATE = State()


def head(status: int, length: int | None, extra: str = "", kind: str = "application/json") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}\r\n{extra}Connection: close\r\n\r\n".encode()


def answer(body: Any, status: int = 200, extra: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, len(raw), extra) + raw


def error_body(request: Request, kind: str, code: Any = None, message: str = "no") -> dict[str, Any]:
    """An error that quotes the key and the whole request, as careless servers do."""
    quoted = f"{message}: {request.headers.get('authorization')}: {request.raw.decode()}"
    return {"error": {"message": quoted, "type": kind, "param": None, "code": code}}


def retry_after(argument: str) -> str:
    """The header of `ms=150`, `s=0.15` or `date=2`, in milliseconds and seconds."""
    unit, _, value = argument.partition("=")
    if unit == "date":
        return f"Retry-After: {email.utils.formatdate(time.time() + float(value), usegmt=True)}\r\n"
    return f"{'retry-after-ms' if unit == 'ms' else 'Retry-After'}: {value}\r\n" if unit else ""


def vector(text: str) -> list[float]:
    """The vector of a text: the first bytes of its SHA-256, divided by 256."""
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


def encoded(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def embeddings(request: Request) -> dict[str, Any]:
    texts = request.body["input"]
    data = [{"object": "embedding", "index": i, "embedding": encoded(vector(text))} for i, text in enumerate(texts)]
    count = sum(len(text.split()) for text in texts)
    return {"object": "list", "model": "m", "usage": {"prompt_tokens": count, "total_tokens": count}, "data": data}


def changed(request: Request, change: str) -> dict[str, Any]:
    """An answer with embeddings that is complete and wrong, or has an unusual form."""
    body = embeddings(request)
    data = body["data"]
    first = vector(request.body["input"][0])
    if change == "reverse":
        data.reverse()
    elif change == "duplicate":
        data[-1]["index"] = 0
    elif change == "missing":
        data.pop()
    elif change == "schema":
        del body["data"]
    elif change == "lists":
        for each, text in zip(data, request.body["input"], strict=True):
            each["embedding"] = vector(text)
    else:
        data[0]["embedding"] = {
            "badb64": "!!notbase64",
            "short64": base64.b64encode(b"\0\0\0\0\0").decode(),
            "nan": encoded([float("nan")] * DIMENSIONS),
            "dims": encoded(first[:-1]),
        }[change]
    return body


def refusal(request: Request, kind: str, argument: str) -> bytes | None:
    """An answer with an error status; None for other faults."""
    limit = error_body(request, "rate_limit_error", "rate_limit_exceeded")
    too_long = "input (999 tokens) is too large to process. increase the physical batch size"
    errors: dict[str, tuple[int, Any]] = {
        "400": (400, error_body(request, "invalid_request_error")),
        "400long": (400, error_body(request, "invalid_request_error", "context_length_exceeded")),
        "401": (401, error_body(request, "invalid_request_error", "invalid_api_key")),
        "402": (402, error_body(request, "billing")),
        "403": (403, error_body(request, "permission_error")),
        "404": (404, error_body(request, "invalid_request_error", "model_not_found")),
        "413": (413, b"too large"),
        "429": (429, limit),
        "429html": (429, b"<html>too many</html>"),
        "quota": (429, error_body(request, "insufficient_quota", "insufficient_quota")),
        "500": (500, b"oops"),
        "500long": (500, error_body(request, "server_error", 500, too_long)),
    }
    if kind not in errors:
        return None
    status, body = errors[kind]
    return answer(body, status, retry_after(argument))


class Connection:
    """One connection, which has one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str | None) -> None:
        self.reader, self.writer, self.upstream = reader, writer, upstream

    async def read(self) -> Request:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.method, path, _ = lines[0].split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        raw = await self.reader.readexactly(int(headers.get("content-length", 0)))
        parsed = json.loads(raw) if raw else {}
        return Request(path, headers, parsed if isinstance(parsed, dict) else {"script": parsed}, raw)

    async def serve(self) -> None:
        request = await self.read()
        if request.path == "/script":
            STATE.restart(request.body["script"])
            await self.send(answer([]))
        elif request.path == "/seen":
            await self.send(answer(STATE.seen()))
        elif self.method == "GET":
            await self.send(answer({"object": "list", "data": [{"id": "m"}]}))
        else:
            with STATE.running(request):
                await self.send_fault(request)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self, seconds: float = 3600) -> None:
        """Wait until the client closes the connection."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.reader.read(), seconds)

    async def send_fault(self, request: Request) -> None:
        kind, _, argument = request.fault.partition(":")
        refused = refusal(request, kind, argument)
        if refused is not None:
            await self.send(refused)
        elif kind == "stall":
            await self.gone()
        elif kind == "redirect":
            port = self.writer.get_extra_info("sockname")[1]
            await self.send(answer(b"", 307, f"Location: http://localhost:{port}{request.path}\r\n"))
        elif kind == "204":
            await self.send(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
        elif kind == "garbage":
            await self.send(answer(b'{"object":"list","data":[{"embedding":'))
        elif kind == "html":
            await self.send(answer(b"<html></html>"))
        elif kind != "close":
            await self.send_well(request, kind, argument)

    async def send_well(self, request: Request, kind: str, argument: str) -> None:
        """Send an answer with the status 200 whose content may be wrong."""
        if kind == "slow":
            await asyncio.sleep(float(argument))
        if self.upstream is not None:
            await self.forward(request, kind, argument)
        elif request.path.endswith("/embeddings"):
            body = embeddings(request) if kind in ("ok", "slow", "cut") else changed(request, kind)
            await self.send(cut(answer(body), argument) if kind == "cut" else answer(body))
        else:
            await self.send_stream(request, kind, argument)

    async def send_stream(self, request: Request, kind: str, argument: str) -> None:
        await self.send(head(200, None, kind="text/event-stream"))
        sent = 0
        async for event in self.events(request, kind, argument):
            data = f"data: {event}\n\n".encode()
            if kind == "cut" and (sent := sent + len(data)) > int(argument):
                return  # without the last chunk of length 0
            await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.send(b"0\r\n\r\n")

    async def events(self, request: Request, kind: str, argument: str) -> AsyncIterator[str]:
        """Yield the events of a stream, after which it ends."""
        if kind == "garbage-event":
            yield '{"choices":'
            return
        if kind == "schema-event":
            yield '{"choices": [{"index": 0}]}'
            return
        parts = [json.dumps(ENTITIES)] if "response_format" in request.body else list(SUMMARY)
        yield chunk({"role": "assistant", "content": ""})
        yield chunk({"refusal" if kind == "refusal" else "content": parts[0]})
        if kind == "event":
            code = int(argument) if argument.isdigit() else argument
            yield json.dumps(error_body(request, "invalid_request_error" if code == 400 else argument, code))
            return
        if kind == "stall-stream":
            await self.gone()
            return
        for part in parts[1:]:
            yield chunk({"content": part})
        if kind != "unfinished":
            yield chunk({}, "content_filter" if kind == "filter" else "stop")
        yield json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}})
        if kind != "undone":
            yield "[DONE]"

    async def forward(self, request: Request, kind: str, argument: str) -> None:
        """Send the request to the upstream server and its answer back, or the first bytes of its body."""
        assert self.upstream is not None
        host, port = self.upstream.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        first = f"POST {request.path} HTTP/1.1\r\nHost: {self.upstream}\r\nConnection: close\r\n"
        names = ("authorization", "content-type")
        kinds = "".join(f"{name}: {request.headers[name]}\r\n" for name in names if name in request.headers)
        writer.write(f"{first}{kinds}Content-Length: {len(request.raw)}\r\n\r\n".encode() + request.raw)
        leaving = asyncio.ensure_future(self.gone())
        try:
            head_bytes = await reader.readuntil(b"\r\n\r\n")
            await self.send(head_bytes)
            rest = int(argument) if kind == "cut" else None
            while rest is None or rest > 0:
                reading = asyncio.ensure_future(reader.read(65536 if rest is None else rest))
                await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or not (data := reading.result()):
                    reading.cancel()
                    return
                await self.send(data)
                rest = None if rest is None else rest - len(data)
        finally:
            leaving.cancel()
            writer.close()


def cut(data: bytes, argument: str) -> bytes:
    """The head of an answer and the first bytes of its body."""
    start = data.index(b"\r\n\r\n") + 4
    return data[: start + int(argument)]


def chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice]})


async def run(port: int, upstream: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await Connection(reader, writer, upstream).serve()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
    print("READY", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream", help="HOST:PORT of the server that gives the good answers")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(arguments.port, arguments.upstream))


if __name__ == "__main__":
    main()
