"""Sends the requests of one backend: slots, attempts, waits between them, and answers that are read with a limit."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin

from ..artifacts.errors import DependencyError, InputError, OnnxMlBridgeError
from ..runtime.lane import LaneStatus
from ..runtime.meter import Meter
from . import verdicts
from .event_stream import EventStream
from .loop import run
from .pacing import Pacing
from .server import ApiServer, Secret, is_loopback
from .verdicts import Failure

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
# The maximum size of an answer in bytes
MAX_ANSWER = 64 << 20
# The first random wait is up to this many seconds; the next ones up to twice the one before.
_FIRST_BACKOFF = 0.5
# A server that asks to wait longer than this many seconds gets no further request.
_MAX_WAIT = 60.0


class Reader(Protocol[T_co]):
    """Reads the events of a stream."""

    has_shown: bool

    def feed(self, event: str) -> None:
        """Read the data of one event.

        :raises Failure: if it is an error or cannot be read.
        """

    def result(self) -> T_co:
        """Return the result after the last event.

        :raises Failure: if the stream is incomplete.
        """


async def _nothing() -> None:
    """Prepare nothing."""


class Wire:
    """Sends requests to one server, from the thread of the event loop."""

    def __init__(
        self,
        server: ApiServer,
        *,
        who: str,
        key: Secret | None = None,
        socket: str | None = None,
        prepare: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Create a wire without connections.

        :param who: names the backend in messages.
        :param socket: the path of a Unix socket, to which all connections go.
        :param prepare: called before every attempt; its exceptions end the call.
        :raises DependencyError: if the library for HTTP is not installed.
        """
        self._http = import_http()
        self.server = server
        self.who = who
        self._socket = socket
        self._prepare = prepare
        self._key = key
        self._is_near = socket is not None or is_loopback(server.base_url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self.pacing = Pacing(server.max_in_flight, server.requests_per_minute)
        self._last_success: float | None = None
        self._error: str | None = None

    def status(self) -> LaneStatus:
        """Return what the requests do, as a lane does."""
        return LaneStatus(self.pacing.waiting, self.pacing.running, self._last_success, self._error)

    async def post(
        self, path: str, body: Any, read: Callable[[Any], T], *, meter: Meter, ends: float | None = None
    ) -> T:
        """Send a request and return what `read` makes of the JSON of its answer.

        :param path: the path after the base URL, or after the host if it begins with `/` twice.
        :param read: raises KeyError, TypeError, ValueError, LookupError or `Failure` for an answer off its schema.
        :param ends: when the time of the call is over, by `time.monotonic`.
        :raises OnnxMlBridgeError: the error of the last attempt.
        """

        async def attempt() -> T:
            async with self._answer("POST", path, body) as response:
                raw = b"".join([chunk async for chunk in self._chunks(response)])
            return self._read(raw, read)

        return await self._repeat(attempt, meter, ends)

    async def stream(
        self, path: str, body: Any, new_reader: Callable[[], Reader[T]], *, meter: Meter, ends: float | None = None
    ) -> T:
        """Send a request and return what a reader makes of the events of its answer; every attempt has a new reader."""

        async def attempt() -> T:
            reader = new_reader()
            try:
                async with self._answer("POST", path, body) as response:
                    async for event in self._events(response):
                        reader.feed(event)
                return reader.result()
            except Failure as failure:
                failure.again = failure.again and not reader.has_shown
                raise

        return await self._repeat(attempt, meter, ends)

    async def ask(self, path: str, body: Any = None) -> int:
        """Send a request once, without a slot, and return the status of its answer, which is read to its end.

        :param path: a path after the base URL, or after the host if it begins with `/` twice.
        :param body: what to send with POST; None is a GET.
        :raises Failure: if there is no complete answer.
        """
        self._bind()
        async with self._sending("GET" if body is None else "POST", path, body) as response:
            async for _ in self._chunks(response):
                pass
            return int(response.status_code)

    def close(self) -> None:
        """Close the connections that are kept for further requests, after the last request has ended."""
        if self._client is not None:
            run(self._close())

    async def _close(self) -> None:
        client, self._client = self._client, None
        if self._loop is asyncio.get_running_loop():  # else they are those of the parent process
            await client.aclose()
        self._loop = None

    def move(self, socket: str) -> None:
        """Connect to another Unix socket from now on."""
        self._socket, self._client = socket, None

    async def _repeat(self, attempt: Callable[[], Awaitable[T]], meter: Meter, ends: float | None) -> T:
        self._bind()
        for number in range(self.server.max_attempts):
            try:
                async with self.pacing.slot(ends, self.who):
                    await self._prepare()
                    self._bind()  # the server may have been started again, behind another socket
                    result = await self._measured(attempt, meter)
            except Failure as failure:
                await self._wait(failure, number, meter, ends)
            except OnnxMlBridgeError as error:  # of `prepare`, or a pause that lasts too long
                self._record(error)
                raise
            else:
                self._last_success, self._error = time.time(), None
                return result
        raise AssertionError("the last attempt returns or raises")

    async def _measured(self, attempt: Callable[[], Awaitable[T]], meter: Meter) -> T:
        meter.sent()
        started = time.perf_counter()
        try:
            return await attempt()
        finally:
            meter.run_ended(time.perf_counter() - started)

    async def _wait(self, failure: Failure, number: int, meter: Meter, ends: float | None) -> None:
        """Wait before the next attempt, or raise the error of this one if it was the last."""
        seconds = failure.retry_after
        if seconds is None:
            limit = min(self.server.max_backoff, _FIRST_BACKOFF * 2**number)
            seconds = random.uniform(0, limit)
        if failure.error.code == "rate_limited":
            self.pacing.hold_back(min(seconds, _MAX_WAIT))
        is_over = ends is not None and time.monotonic() + seconds > ends
        if not failure.again or number + 1 == self.server.max_attempts or seconds > _MAX_WAIT or is_over:
            self._record(failure.error)
            raise failure.error from failure.__cause__
        meter.retried(failure.error.code)
        await asyncio.sleep(seconds)

    def _record(self, error: OnnxMlBridgeError) -> None:
        """Remember an error for `status`; those of a text say nothing of the backend."""
        if not isinstance(error, InputError):
            self._error = error.code

    def _read(self, raw: bytes, read: Callable[[Any], T]) -> T:
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise verdicts.unreadable("the answer is not JSON", self.who) from error
        try:
            return read(parsed)
        except (KeyError, TypeError, ValueError, LookupError, AttributeError, OverflowError):
            raise verdicts.off_schema("the answer has an invalid value", self.who) from None

    async def _events(self, response: Any) -> AsyncIterator[str]:
        stream = EventStream()
        async for chunk in self._chunks(response):
            try:
                for event in stream.feed(chunk):
                    yield event
            except ValueError as error:
                raise verdicts.unreadable(str(error), self.who) from None

    async def _chunks(self, response: Any) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MAX_ANSWER:
                raise verdicts.unreadable(f"the answer has more than {MAX_ANSWER >> 20} MiB", self.who)
            yield chunk

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: Any) -> AsyncIterator[Any]:
        """Send a request and return its answer, which has the status 200."""
        async with self._sending(method, path, body) as response:
            if response.status_code != 200:
                raw = b"".join([chunk async for chunk in self._chunks(response)])
                headers = {name.lower(): value for name, value in response.headers.items()}
                raise verdicts.refused(response.status_code, raw, headers, self.who)
            yield response

    @asynccontextmanager
    async def _sending(self, method: str, path: str, body: Any) -> AsyncIterator[Any]:
        """Send a request; errors of the connection, also later ones, are failures without the text of the library.

        A library's message may have a part of the answer.
        """
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = self._key.header()
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        base = self.server.base_url.rstrip("/")
        url = urljoin(base, path[1:]) if path.startswith("//") else base + path
        try:
            async with self._client.stream(method, url, content=content, headers=headers) as response:
                yield response
        except self._http.TimeoutException as error:
            raise verdicts.incomplete(f"no answer in time ({type(error).__name__})", self.who) from None
        except (self._http.TransportError, self._http.StreamError) as error:
            raise verdicts.incomplete(f"the connection failed ({type(error).__name__})", self.who) from None
        except self._http.HTTPError as error:
            raise verdicts.unreadable(f"the answer is invalid ({type(error).__name__})", self.who) from None

    def _bind(self) -> None:
        """Use a client of the running event loop; a child process has another loop than its parent."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._client = loop, None
            self.pacing = Pacing(self.server.max_in_flight, self.server.requests_per_minute)
        if self._client is None:
            self._client = self._new_client()

    def _new_client(self) -> Any:
        """Return a client without redirects; near servers are asked without proxies and without kept connections.

        llama.cpp's server closes kept connections in a way that loses requests.
        """
        http, server = self._http, self.server
        kept = 0 if self._is_near else server.max_in_flight
        limits = http.Limits(max_connections=None, max_keepalive_connections=kept)
        timeout = http.Timeout(server.read_timeout, connect=server.connect_timeout, pool=None)
        transport = None if self._socket is None else http.AsyncHTTPTransport(uds=self._socket, limits=limits)
        return http.AsyncClient(
            transport=transport, trust_env=not self._is_near, follow_redirects=False, timeout=timeout, limits=limits
        )


def import_http() -> Any:
    """Return the library for HTTP.

    :raises DependencyError: if it is not installed.
    """
    try:
        return importlib.import_module("httpx2")
    except ImportError as error:
        raise DependencyError(
            "servers require the library httpx2", hint="Install it: pip install 'onnx-ml-bridge[openai]'"
        ) from error
