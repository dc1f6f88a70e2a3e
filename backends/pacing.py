"""When a request may start: after the pause that a 429 asked for, and spaced by `requests_per_minute`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..artifacts.errors import BackendError


class Pacing:
    """The limits of the requests of one backend, within one event loop."""

    def __init__(self, max_in_flight: int, requests_per_minute: int | None) -> None:
        """Create limits without requests."""
        self._slots = asyncio.Semaphore(max_in_flight)
        self._interval = 0.0 if requests_per_minute is None else 60.0 / requests_per_minute
        self._turn = asyncio.Lock()
        self._next_start = 0.0
        self._held_until = 0.0
        self.running = 0
        self.waiting = 0

    def hold_back(self, seconds: float) -> None:
        """Let no request start for a time."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    @asynccontextmanager
    async def slot(self, ends: float | None, who: str) -> AsyncIterator[None]:
        """Wait until a request may start, and count it as running; a request that waits for a time has no slot.

        :param ends: when the time of the call is over, by `time.monotonic`.
        :raises BackendError: with the code `rate_limited` if requests are held back until after that.
        """
        self.waiting += 1
        try:
            await self._space()
            await self._acquire(ends, who)
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()

    async def _space(self) -> None:
        """Wait for the next start. Requests wait in turn, so that one that is stopped meanwhile takes no start."""
        if self._interval:
            async with self._turn:
                start = max(time.monotonic(), self._next_start)
                await asyncio.sleep(start - time.monotonic())
                self._next_start = start + self._interval

    async def _acquire(self, ends: float | None, who: str) -> None:
        while True:
            await self._wait_while_held(ends, who)
            await self._slots.acquire()
            if self._held_until <= time.monotonic():
                return
            self._slots.release()  # a 429 came while the request waited for the slot

    async def _wait_while_held(self, ends: float | None, who: str) -> None:
        while (rest := self._held_until - time.monotonic()) > 0:
            if ends is not None and self._held_until > ends:
                what = f"{who}: the server allows no request before the call is over"
                raise BackendError("rate_limited", what, retry_after=rest)
            await asyncio.sleep(rest)
