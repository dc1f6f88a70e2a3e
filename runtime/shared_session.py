"""A session of ONNX Runtime on the CPU whose runs can execute at the same time, on one thread each."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from .pending_release import PENDING_RELEASE, get

# A run that was interrupted ends within this many seconds, after the node of the graph that is in progress.
_END_SECONDS = 1.0


class SharedSession:
    """Divides the threads of a session among the runs of several callers. Thread-safe.

    A run that is alone uses all threads. Runs at the same time use one thread each, which is faster: the threads of one
    run wait for each other after every node. The first of them executes on the thread of its caller, the next ones on
    the session's own threads, and more than these on the threads of their callers again. So do all runs while ONNX
    Runtime keeps a session that was unloaded; see `pending_release`.
    """

    def __init__(self, session: Any, threads: int) -> None:
        """Wrap an `onnxruntime.InferenceSession`.

        :param threads: the threads of a run that is alone, one of which is the caller's.
        """
        self.session = session
        self._lock = threading.Lock()
        self._here = 0  # runs on the threads of callers
        self._free = threads - 1  # threads of the session without a run
        self._end: Any = None  # registered by the first run on a thread of the session

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any], options: Any) -> Any:
        """Run the graph, as `onnxruntime.InferenceSession.run` does."""
        with self._lock:
            is_here = not self._here or not self._free or not PENDING_RELEASE.allows_run()
            self._here += is_here
            self._free -= not is_here
        try:
            run = self.session.run if is_here else self._run_on_own_thread
            return run(outputs, feeds, options)
        finally:
            with self._lock:
                self._here -= is_here
                self._free += not is_here

    def _run_on_own_thread(self, outputs: Sequence[str], feeds: Mapping[str, Any], options: Any) -> Any:
        """Run the graph on a thread of the session, and let the thread of the caller wait."""
        if self._end is None:
            self._end = weakref.finalize(self, PENDING_RELEASE.session_ended, self.session)
            self._end.atexit = False
        done: SimpleQueue[Any] = SimpleQueue()
        # The thread of the session executes only `put`, no Python code, and so does not need the interpreter's lock any
        # more when the caller goes on: the caller may be the last to have the session, whose end waits for its threads
        # while it holds this lock. `put` ignores its other arguments; the second one keeps what the run uses.
        self.session.run_async(outputs, feeds, done.put, (feeds, options), options)
        try:
            values = get(done)
        except BaseException:  # an interrupt of the process
            options.terminate = True
            with suppress(Empty):  # the interrupt may have come with the values, and they are lost
                done.get(timeout=_END_SECONDS)
            raise
        finally:
            PENDING_RELEASE.run_ended()
        # A run that fails has no values, and its error is not passed on: the same run on this thread raises it
        return values or self.session.run(outputs, feeds, options)
