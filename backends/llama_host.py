"""A GGUF file in llama.cpp's server, which is started, watched and ended with the models that use it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ..runtime.cancellation import Watch
from ..runtime.forking import call_after_fork
from ..runtime.meter import Meter
from ..runtime.status import ModelState
from .gguf_file import GgufFile
from .llama_server import PAUSE, LlamaOptions, Server, ServerStart
from .loop import run
from .remote import probed
from .wire import Wire


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
        self._file = GgufFile(options.path, options.sha256)
        self._file.check()
        self.wire = Wire(options.to_api_server(), who=self._who, socket="", prepare=self._restart)
        self._server: Server | None = None
        self._start: ServerStart | None = None
        self._drop: weakref.finalize[..., LlamaHost] | None = None
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Use no server of the parent process, but let it end with the parent."""
        for server in (self._server, None if self._start is None else self._start.server):
            if server is not None:
                server.child.abandon()
        if self._drop is not None:
            self._drop.detach()
        self._lock = threading.Lock()
        self._server = self._start = self._drop = None
        self._users = 0

    def load(self, watch: Watch | None = None) -> None:
        """Start the server, unless it runs already, and let it answer once.

        :param watch: can end the wait; the server goes on to start, and the next call waits for the rest.
        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if llama.cpp refuses the file, ends, or exceeds the start limit.
        :raises DependencyError: if the program is missing.
        """
        self._ensure_running(Watch() if watch is None else watch, new_users=1)

    def cancel_load(self) -> None:
        """End a server that was started for a call that was stopped, unless a model uses it."""
        with self._lock:
            if self._users == 0:
                self._end()

    def unload(self) -> None:
        """End the server if no other model uses it."""
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users == 0:
                self._end()

    def close(self) -> None:
        """End the server, also one that still starts."""
        with self._lock:
            self._users = 0
            self._end()

    def resident_bytes(self) -> int:
        """Return the memory of the server in bytes."""
        server = self._server
        return 0 if server is None else server.child.resident_bytes()

    def probe(self) -> tuple[ModelState, str | None]:
        """Ask the server whether it works, if it runs."""
        server = self._server
        if server is None:
            return ModelState.UNLOADED, None
        return probed(self.wire, "//health") if server.is_running else (ModelState.FAILED, "upstream")

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
        server = self._server
        if server is not None and not server.is_running:
            await asyncio.to_thread(self._start_again)

    def _start_again(self) -> None:
        with self._lock:
            is_used = self._users > 0
        if is_used:
            self._ensure_running(Watch(), new_users=0)

    def _ensure_running(self, watch: Watch, *, new_users: int) -> None:
        """Start the server unless it runs, and count the models that use it from now on."""
        while True:
            with self._locked(watch):
                if self._server is not None and self._server.is_running:
                    self._users += new_users
                    return
                start = self._begun()
            server = start.take(watch)
            with self._lock:
                if self._start is start:
                    self._adopt(server)

    @contextmanager
    def _locked(self, watch: Watch) -> Iterator[None]:
        """Hold the lock, for which a call waits that can be stopped: the end of a server takes some seconds."""
        while not self._lock.acquire(timeout=PAUSE):
            watch.check()
        try:
            yield
        finally:
            self._lock.release()

    def _begun(self) -> ServerStart:
        """Return the start of the server that goes on, or a new one."""
        if self._start is None or self._start.is_over:
            self._end()
            self._start = ServerStart(self._options, self._file, self._who)
            self._drop = weakref.finalize(self, self._start.end)
        return self._start

    def _adopt(self, server: Server | None) -> None:
        """Use the server of a start that is over, if it has one."""
        if self._drop is not None:
            self._drop.detach()
        self._start = self._drop = None
        if server is not None:
            self._server = server
            self.wire.move(server.socket)

    def _end(self) -> None:
        server, start = self._server, self._start
        self._server = None
        self._adopt(None)
        if start is not None:
            start.end()
        if server is not None:
            server.end()


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
