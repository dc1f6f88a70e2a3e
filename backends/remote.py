"""What the remote models of all tasks share: the wire to their server, their description and their state."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..artifacts.errors import OnnxMlBridgeError
from ..runtime.answers import Usage
from ..runtime.cancellation import Watch
from ..runtime.meter import Meter
from ..runtime.options import ModelInfo
from ..runtime.status import ModelState
from .loop import run
from .verdicts import Failure
from .wire import Wire


class Host(Protocol):
    """What a remote model runs on: a server that is there, or one that is started.

    `counts_loads` tells whether it is started, and the metrics count that as a load.
    """

    counts_loads: ClassVar[bool]

    @property
    def wire(self) -> Wire:
        """The wire to it."""

    def load(self, watch: Watch | None = None) -> None:
        """Start it, if it is started by this process; the watch can end the wait for it."""

    def cancel_load(self) -> None:
        """End what was started for a call that was stopped, if no model uses it."""

    def unload(self) -> None:
        """End it, if it is started by this process."""

    def resident_bytes(self) -> int:
        """Return the memory in bytes that it takes on this machine; 0 if it is not a process of this one."""

    def probe(self) -> tuple[ModelState, str | None]:
        """Return its state and the code of an error, at no cost of tokens."""


@dataclass(frozen=True)
class ServerHost:
    """A server that is there."""

    counts_loads: ClassVar[bool] = False
    wire: Wire

    def load(self, watch: Watch | None = None) -> None:
        """Do nothing: the server has its models loaded."""

    def cancel_load(self) -> None:
        """Do nothing: the server is not ours."""

    def unload(self) -> None:
        """Do nothing: the server is not ours."""

    def resident_bytes(self) -> int:
        """Return 0: the memory is the server's."""
        return 0

    def probe(self) -> tuple[ModelState, str | None]:
        """Ask the server for its models, once."""
        return probed(self.wire, "/models")


class RemoteModel:
    """One model of a host, for one task."""

    def __init__(self, host: Host, info: ModelInfo) -> None:
        """Wrap a host."""
        self.host = host
        self.info = info
        self.wire = host.wire
        self.lane = host.wire  # its status
        self.meter = Meter(info.name, info.version or info.backend)
        self.counts_loads = host.counts_loads
        self.load_within, self.cancel_load, self.unload = host.load, host.cancel_load, host.unload
        self.resident_bytes, self.probe = host.resident_bytes, host.probe

    def load(self) -> None:
        """Start the host now instead of in the first call."""
        self.host.load()


def probed(wire: Wire, path: str) -> tuple[ModelState, str | None]:
    """Return the state of a server by its answer to one GET; 404 is an answer of a server without this path."""
    try:
        status = run(wire.ask(path))
    except Failure as failure:
        return ModelState.FAILED, failure.error.code
    if status in (401, 403):
        return ModelState.FAILED, "auth"
    if status == 429:
        return ModelState.FAILED, "rate_limited"
    return (ModelState.FAILED, "upstream") if status >= 500 else (ModelState.READY, None)


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """Return what a server counted; None if it has no valid counts."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")]
    if any(type(count) is not int or count < 0 for count in counts):
        return None
    return Usage(*counts)


async def outcome_of(request: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a request, or its error."""
    try:
        return await request
    except OnnxMlBridgeError as error:
        return error
