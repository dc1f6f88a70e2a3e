"""A GGUF file in llama.cpp's server: a child process that is started, watched and ended, behind a Unix socket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ..artifacts.errors import ArtifactError, ConfigError, InferenceError, OnnxMlBridgeError, StoppedError
from ..runtime.cancellation import Watch
from ..runtime.forking import call_after_fork
from ..runtime.meter import Meter
from ..runtime.status import ModelState
from .child_process import ChildProcess
from .loop import run
from .remote import probed
from .server import ApiServer
from .verdicts import Failure
from .wire import Wire

# The host is never resolved: all connections go to the socket.
_BASE_URL = "http://localhost/v1"
_PAUSE = 0.02
_MAX_SOCKET_PATH = 100


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


class LlamaHost:
    """The server of one file, a `Host`. It starts when the first of its models is loaded, and ends with the last."""

    counts_loads: ClassVar[bool] = True

    def __init__(self, options: LlamaOptions, name: str) -> None:
        """Check the file; nothing is started.

        :param name: the name of the backend.
        :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
        :raises ArtifactError: with the code `file_hash` if it has another SHA-256.
        """
        self._options = options
        self._who = f"{name} ({options.path.name})"
        self._stamp: tuple[int, ...] | None = None
        self._check_file()
        server = ApiServer(base_url=_BASE_URL, max_in_flight=1, read_timeout=options.read_timeout, max_backoff=0.5)
        self.wire = Wire(server, who=self._who, socket="", prepare=self._restart)
        self._child: ChildProcess | None = None
        self._starting: _Starting | None = None
        self._folder: weakref.finalize[..., LlamaHost] | None = None
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Use no child of the parent process, but let it end with the parent."""
        for child in (self._child, None if self._starting is None else self._starting.child):
            if child is not None:
                child.abandon()
        self._lock = threading.Lock()
        self._child = self._starting = self._folder = None
        self._users = 0

    def load(self, watch: Watch | None = None) -> None:
        """Start the server, unless it runs already, and let it answer once.

        :param watch: can end the wait; the server goes on to start, and the next call waits for the rest.
        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if llama.cpp refuses the file, ends, or exceeds the start limit.
        :raises DependencyError: if the program is missing.
        """
        watch = Watch() if watch is None else watch
        while not self._lock.acquire(timeout=_PAUSE):
            watch.check()
        try:
            self._ensure_running(watch)
            self._users += 1
        finally:
            self._lock.release()

    def unload(self) -> None:
        """End the server if no other model uses it."""
        with self._lock:
            self._users -= 1
            if self._users <= 0:
                self._end()

    def close(self) -> None:
        """End the server, also one that still starts."""
        with self._lock:
            self._users = 0
            self._end()

    def resident_bytes(self) -> int:
        """Return the memory of the server in bytes."""
        child = self._child
        return 0 if child is None else child.resident_bytes()

    def probe(self) -> tuple[ModelState, str | None]:
        """Ask the server whether it works, if it runs."""
        child = self._child
        if child is None:
            return ModelState.UNLOADED, None
        return (ModelState.FAILED, "upstream") if child.status is not None else probed(self.wire, "//health")

    def count(self, content: str, watch: Watch) -> int:
        """Return the number of tokens of a message of the user within the chat template of the file."""
        return run(self._count(content, watch.ends), watch)

    async def _count(self, content: str, ends: float | None) -> int:
        meter = Meter(self._options.path.stem, "llama.cpp tokenizer")
        messages = {"messages": [{"role": "user", "content": content}]}
        prompt = await self.wire.post("//apply-template", messages, _prompt_of, meter=meter, ends=ends)
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return await self.wire.post("//tokenize", body, _token_count_of, meter=meter, ends=ends)

    async def _restart(self) -> None:
        """Start the server again if it ended on its own."""
        child = self._child
        if child is not None and child.status is not None:
            await asyncio.to_thread(self._locked_restart)

    def _locked_restart(self) -> None:
        with self._lock:
            if self._users > 0:
                self._ensure_running(Watch())

    def _ensure_running(self, watch: Watch) -> None:
        if self._child is not None and self._child.status is None:
            return
        starting = self._start() if self._starting is None else self._starting
        try:
            self._wait_until_ready(starting, watch)
        except StoppedError:
            self._starting = starting
            raise
        except BaseException:
            self._starting = starting
            self._end()
            raise
        self._child, self._starting = starting.child, None

    def _start(self) -> _Starting:
        self._end()
        self._check_file()
        options = self._options
        socket = self._new_socket()
        child = ChildProcess(
            [*_command(options), *_arguments(options, socket)],
            memory_mb=options.memory_mb,
            ends_with_input=options.command is None or options.command[-1:] == (_MODULE,),
        )
        return _Starting(child, time.monotonic() + options.start_timeout)

    def _end(self) -> None:
        children = (self._child, None if self._starting is None else self._starting.child)
        self._child = self._starting = None
        for child in children:
            if child is not None:
                child.end()
        if self._folder is not None:
            self._folder()
            self._folder = None

    def _new_socket(self) -> Path:
        """Return the path of a socket that does not exist, in a folder that only this user can read."""
        folder = tempfile.mkdtemp(prefix="onnx-ml-bridge-")
        self._folder = weakref.finalize(self, _remove, folder, os.getpid())
        socket = Path(folder) / "llama.sock"
        if len(os.fsencode(socket)) > _MAX_SOCKET_PATH:
            raise ConfigError("TMPDIR", expected="a short path for a Unix socket", actual=str(socket))
        self.wire.move(str(socket))
        return socket

    def _wait_until_ready(self, starting: _Starting, watch: Watch) -> None:
        """Wait until the server answers; at last it computes a token, because some files fail only then."""
        while not self._is_answered(starting, watch, "//health", None):
            time.sleep(_PAUSE)
        path, body = ("/embeddings", {"input": "a"}) if self._options.is_embedding else ("/chat/completions", _FIRST)
        if not self._is_answered(starting, watch, path, body):
            raise InferenceError(f"{self._who}: llama.cpp cannot use the file: its first answer is an error")

    def _is_answered(self, starting: _Starting, watch: Watch, path: str, body: Any) -> bool:
        """Return whether the server answers a request with the status 200.

        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if the server ended, or if the start limit is exceeded.
        """
        watch.check()
        child, ends = starting.child, starting.ends
        rest = ends - time.monotonic()
        try:
            if rest > 0:
                with Watch(rest) as limit, watch.listening(partial(limit.stop, "cancelled")):
                    return run(self.wire.ask(path, body), limit) == 200
        except (Failure, StoppedError):
            watch.check()
            rest = ends - time.monotonic()
        if child.status is not None:
            what = f"llama.cpp ended with the status {child.status} when it started: {child.last_message}"
            raise InferenceError(f"{self._who}: {what}")
        if rest <= 0:
            raise InferenceError(f"{self._who}: llama.cpp did not start within {self._options.start_timeout:g} s")
        return False

    def _check_file(self) -> None:
        """Raise an error if the file cannot be read or has another hash; a file that did not change is not hashed."""
        path = self._options.path
        try:
            stat = path.stat()
            stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            with path.open("rb") as file:
                if self._options.sha256 is None or stamp == self._stamp:
                    return
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise OnnxMlBridgeError("io", f"{path}: {error.strerror}") from error
        if actual != self._options.sha256:
            raise ArtifactError("file_hash", f"{path} is another file", expected=self._options.sha256, actual=actual)
        self._stamp = stamp


@dataclass(frozen=True)
class _Starting:
    """A child that does not answer yet, and when it has to, by `time.monotonic`."""

    child: ChildProcess
    ends: float


_MODULE = "onnx_ml_bridge.backends.llama_child"
_FIRST = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}


def _command(options: LlamaOptions) -> Sequence[str]:
    return (sys.executable, "-m", _MODULE) if options.command is None else options.command


def _arguments(options: LlamaOptions, socket: Path) -> list[str]:
    """Return the arguments of llama-server, which the child of this package understands too."""
    arguments = ["--model", str(options.path), "--host", str(socket), "--ctx-size", str(options.context)]
    arguments += ["--parallel", "1", "--no-warmup"]
    if options.threads is not None:
        arguments += ["--threads", str(options.threads), "--threads-batch", str(options.threads)]
    if options.is_embedding:
        arguments += ["--embeddings", "--batch-size", str(options.context), "--ubatch-size", str(options.context)]
    return arguments


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a process that was forked removes nothing of its parent
        shutil.rmtree(folder, ignore_errors=True)


def _prompt_of(answer: Any) -> str:
    prompt = answer["prompt"]
    if not isinstance(prompt, str):
        raise ValueError("prompt")
    return prompt


def _token_count_of(answer: Any) -> int:
    tokens = answer["tokens"]
    if not isinstance(tokens, list):
        raise ValueError("tokens")
    return len(tokens)
