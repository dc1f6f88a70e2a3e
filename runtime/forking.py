"""Keep models usable in a child process after `os.fork`, for example in the workers of a server that loads them first.

Only the thread that forks exists in the child. A lock that another thread held stays locked for ever, and a thread pool
waits for threads that do not exist.
"""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from typing import Any, Protocol


class ForkAware(Protocol):
    """An object with locks or threads."""

    def _after_fork(self) -> None:
        """Replace all locks, and everything that another thread may have left incomplete, in a child process."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def call_after_fork(each: ForkAware) -> None:
    """Call `_after_fork` of an object in every child process, as long as the object exists."""
    _registered.add(each)


def abandon(each: Any) -> None:
    """Keep an object for ever, so that its destructor never runs: it would wait for threads that do not exist."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
    _exit_without_destructors()


@functools.cache
def _exit_without_destructors() -> None:
    """Let the process end without the C++ destructors of libraries, some of which wait for threads of the parent.

    ONNX Runtime has such a destructor. The functions registered here run after Python has ended, in reverse order:
    first the buffers of C are written, then the process ends with its exit status.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "on_exit"):  # only the GNU C library has it
        return
    library.on_exit(library._exit, None)
    library.__cxa_atexit(library.fflush, None, None)


def _after_fork() -> None:
    if _registered:
        # The thread pool of the tokenizers library does not exist in the child. The library does the same, unless the
        # variable is set.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for each in list(_registered):
        each._after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
