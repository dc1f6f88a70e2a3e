"""When requests to a server may start."""

from __future__ import annotations

import asyncio
import time

from onnx_ml_bridge.backends.pacing import Pacing


async def request(pacing: Pacing) -> float:
    """Return when the request started."""
    async with pacing.slot(None, "server"):
        return time.monotonic()


def test_requests_start_at_the_same_distance():
    async def seconds() -> float:
        pacing = Pacing(8, 1200)
        # The first request may tell its own start late
        begun = time.monotonic()
        return max(await asyncio.gather(*(request(pacing) for _ in range(5)))) - begun

    assert asyncio.run(seconds()) > 4 * 0.05 - 0.01


def test_requests_that_are_stopped_take_no_start():
    async def rest() -> None:
        pacing = Pacing(8, 60)
        await request(pacing)
        stopped = [asyncio.create_task(request(pacing)) for _ in range(1000)]
        await asyncio.sleep(0.05)
        for each in stopped:
            each.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        await asyncio.wait_for(request(pacing), 10)
        assert (pacing.waiting, pacing.running) == (0, 0)

    asyncio.run(rest())
