"""llama.cpp's server for one GGUF file: a child process behind a Unix socket, and its start."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts.errors import ConfigError, InferenceError, OverloadedError, StoppedError
from ..runtime.cancellation import Watch
from .child_process import ChildProcess
from .gguf_file import GgufFile
from .loop import run
from .server import ApiServer
from .verdicts import Failure
from .wire import Wire

# The host is never resolved: all connections go to the socket.
_BASE_URL = "http://localhost/v1"
# The seconds between two looks at what a call waits for
PAUSE = 0.02
# How long a server that has started waits for a model, in seconds
_UNUSED_SECONDS = 300.0
_MAX_SOCKET_PATH = 100
_MODULE = "onnx_ml_bridge.backends.llama_child"
_FIRST = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}


@dataclass(frozen=True)
class LlamaOptions:
    """How a file is served. Times are in seconds.

    `command` is the program and its first arguments; None is the child of this package. `threads` None uses all CPUs
    that the process may use.
    """

    path: Path
    sha256: str | None
    context: int
    threads: int | None
    memory_mb: int | None
    is_embedding: bool
    command: tuple[str, ...] | None
    start_timeout: float
    read_timeout: float

    def to_api_server(self) -> ApiServer:
        """Return the limits of requests to the server."""
        return ApiServer(base_url=_BASE_URL, max_in_flight=1, read_timeout=self.read_timeout, max_backoff=0.5)


class Server:
    """The process of a server. Its socket is in a folder that only this user can read."""

    def __init__(self, options: LlamaOptions) -> None:
        """Start the process, which does not answer yet.

        :raises ConfigError: if the path of the socket is too long, or for a limit that the system does not have.
        :raises DependencyError: if the program is missing.
        """
        folder = tempfile.mkdtemp(prefix="onnx-ml-bridge-")
        self._folder = weakref.finalize(self, _remove, folder, os.getpid())
        self.socket = str(Path(folder) / "llama.sock")
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH:
            raise ConfigError("TMPDIR", expected="a short path for a Unix socket", actual=self.socket)
        self.child = ChildProcess(
            [*_command(options), *_arguments(options, self.socket)],
            memory_mb=options.memory_mb,
            ends_with_input=options.command is None or options.command[-1:] == (_MODULE,),
        )

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.child.status is None

    def end(self) -> None:
        """End the process and remove its socket."""
        if self._folder.alive:
            self.child.end()
            self._folder()


class ServerStart:
    """The start of a server in a thread of its own: it goes on when a call that waits for it is stopped.

    A server that no model takes within five minutes is ended. Thread-safe.
    """

    def __init__(self, options: LlamaOptions, file: GgufFile, who: str) -> None:
        """Begin.

        :param who: names the backend and the file in messages.
        :raises OverloadedError: if the system refuses the thread.
        """
        self.server: Server | None = None
        self._options, self._file, self._who = options, file, who
        self._limit = Watch(options.start_timeout)
        self._lock = threading.Lock()
        self._is_done, self._is_taken = threading.Event(), threading.Event()
        self._is_ended = False
        self._error: BaseException | None = None
        thread = threading.Thread(target=self._run, name="onnx-ml-bridge llama.cpp", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OverloadedError("the system refuses the thread that starts llama.cpp") from error

    @property
    def is_over(self) -> bool:
        """Whether the server did not start, or was ended before a model took it."""
        return self._is_ended or self._error is not None

    def take(self, watch: Watch) -> Server | None:
        """Wait for the server; None if it was ended before.

        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if llama.cpp refuses the file, ends, or exceeds the start limit.
        :raises OnnxMlBridgeError: with the code `io`, `file_hash`, `dependency` or `config`.
        """
        while not self._is_done.wait(PAUSE):
            watch.check()
        with self._lock:
            if self._is_ended:
                return None
            if self._error is not None:
                raise self._error
            self._is_taken.set()
            return self.server

    def end(self) -> None:
        """End the start, or the server that no model has taken."""
        with self._lock:
            if self._is_taken.is_set():
                return
            self._is_ended = True
            self._limit.stop("cancelled")
            self._is_taken.set()  # the thread waits no longer
            if self.server is not None:
                self.server.end()

    def _run(self) -> None:
        try:
            self._file.check()
            with self._limit:
                self._wait_until_ready(self._started())
        except BaseException as error:
            self._fail(error)
        self._is_done.set()
        if not self.is_over and not self._is_taken.wait(_UNUSED_SECONDS):
            self.end()

    def _started(self) -> Server:
        with self._lock:
            self._limit.check()
            self.server = Server(self._options)
            return self.server

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = error
            if self.server is not None:
                self.server.end()

    def _wait_until_ready(self, server: Server) -> None:
        """Wait until the server answers; at last it computes a token, because some files fail only then."""
        wire = Wire(self._options.to_api_server(), who=self._who, socket=server.socket)
        while not self._is_answered(server, wire, "//health", None):
            time.sleep(PAUSE)
        path, body = ("/embeddings", {"input": "a"}) if self._options.is_embedding else ("/chat/completions", _FIRST)
        if not self._is_answered(server, wire, path, body):
            raise InferenceError(f"{self._who}: llama.cpp cannot use the file: its first answer is an error")

    def _is_answered(self, server: Server, wire: Wire, path: str, body: Any) -> bool:
        """Return whether the server answers a request with the status 200.

        :raises InferenceError: if the server ended, or if the start limit is exceeded.
        """
        is_stopped = False
        try:
            return run(wire.ask(path, body), self._limit) == 200
        except Failure:
            pass
        except StoppedError:
            is_stopped = True
        if (status := server.child.status) is not None:
            what = f"llama.cpp ended with the status {status} when it started: {server.child.last_message}"
            raise InferenceError(f"{self._who}: {what}")
        if is_stopped:
            raise InferenceError(f"{self._who}: llama.cpp did not start within {self._options.start_timeout:g} s")
        return False


def _command(options: LlamaOptions) -> Sequence[str]:
    return (sys.executable, "-m", _MODULE) if options.command is None else options.command


def _arguments(options: LlamaOptions, socket: str) -> list[str]:
    """Return the arguments of llama-server, which the child of this package understands too."""
    arguments = ["--model", str(options.path), "--host", socket, "--ctx-size", str(options.context)]
    arguments += ["--parallel", "1", "--no-warmup"]
    if options.threads is not None:
        arguments += ["--threads", str(options.threads), "--threads-batch", str(options.threads)]
    if options.is_embedding:
        arguments += ["--embeddings", "--batch-size", str(options.context), "--ubatch-size", str(options.context)]
    return arguments


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a process that was forked removes nothing of its parent
        shutil.rmtree(folder, ignore_errors=True)
