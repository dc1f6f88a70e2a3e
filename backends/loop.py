"""Runs the requests of blocking calls in one thread with an event loop: a call that stops closes its sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from ..artifacts.errors import OverloadedError
from ..runtime.cancellation import Watch
from ..runtime.forking import call_after_fork

T = TypeVar("T")
# A coroutine function that may emit events on the way to its result.
Job = Callable[[Callable[[Any], None]], Coroutine[Any, Any, T]]
# What the queue of a call holds at its end, and what it holds beside an exception
_END, _RAISED = object(), object()


class _LoopThread:
    """The thread, which the first call of the process starts."""

    def __init__(self) -> None:
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Start again without a loop: a child process does not have the thread."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            loop = self._running_loop()
        except RuntimeError as error:
            coroutine.close()
            raise OverloadedError("the system refuses the thread of the requests") from error
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="onnx-ml-bridge requests", daemon=True).start()
                self._loop = loop
            return self._loop


_THREAD = _LoopThread()


def run(coroutine: Coroutine[Any, Any, T], watch: Watch | None = None) -> T:
    """Run a coroutine in the thread of the loop and return its result.

    :param watch: cancels the coroutine if it stops the call.
    :raises StoppedError: if the watch stopped the call.
    """
    watch = Watch() if watch is None else watch

    async def job(emit: Callable[[Any], None]) -> T:
        return await coroutine

    ((_, result),) = run_all([job], watch)
    return result


def run_all(
    jobs: Sequence[Job[T]], watch: Watch, on_event: Callable[[Any], None] | None = None
) -> Iterator[tuple[int, T]]:
    """Run jobs at the same time, and yield the index and the result of each as soon as it is ready.

    The rest is cancelled if the watch stops the call, if a job raises an exception, or if the caller reads no further.

    :param on_event: called in the thread of the caller with what jobs emit.
    :raises StoppedError: if the watch stopped the call.
    """
    queue: SimpleQueue[Any] = SimpleQueue()
    future = _THREAD.submit(_all(jobs, queue))
    future.add_done_callback(lambda _: queue.put(_END))
    try:
        with watch.listening(lambda: _cancel(future)):
            while (item := queue.get()) is not _END:
                watch.check()
                kind, value = item
                if kind is _RAISED:
                    raise value from value.__cause__
                if kind is None:
                    if on_event is not None:
                        on_event(value)
                else:
                    yield kind, value
            watch.check()
            future.result()
    finally:
        future.cancel()


def _cancel(future: Future[None]) -> None:
    future.cancel()


async def _all(jobs: Sequence[Job[T]], queue: SimpleQueue[Any]) -> None:
    """Put the result of every job into the queue with its index; events have the index None.

    The first exception goes there too, because asyncio logs one that nobody takes from a task.
    """

    async def one(index: int, job: Job[T]) -> None:
        queue.put((index, await job(lambda event: queue.put((None, event)))))

    try:
        async with asyncio.TaskGroup() as group:
            for index, job in enumerate(jobs):
                group.create_task(one(index, job))
    except BaseExceptionGroup as errors:
        queue.put((_RAISED, errors.exceptions[0]))
