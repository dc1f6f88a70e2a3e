"""The devices that can run a model: their names, their execution providers of ONNX Runtime and their options.

The Rust crate has the same table (`bridge/src/runtime/devices.rs`); tests/golden/devices.json tests both.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..artifacts.errors import ConfigError

AUTO = "auto"
CPU_PROVIDER = "CPUExecutionProvider"
_INDEX = re.compile("[0-9]{1,3}")
_PROVIDER = re.compile("[A-Za-z][A-Za-z0-9]*ExecutionProvider")


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device: its name, its provider, and the provider's option that selects one of several devices.

    `values` has the values of the option; without any, the value is an index.
    """

    name: str
    provider: str
    option: str | None = None
    values: tuple[str, ...] = ()

    @property
    def syntax(self) -> str:
        """How a user writes the kind, such as `cuda[:INDEX]`."""
        if self.option is None:
            return self.name
        return f"{self.name}[:{'|'.join(self.values) or 'INDEX'}]"


KINDS = (
    DeviceKind("cpu", CPU_PROVIDER),
    DeviceKind("cuda", "CUDAExecutionProvider", "device_id"),
    DeviceKind("tensorrt", "TensorrtExecutionProvider", "device_id"),
    DeviceKind("migraphx", "MIGraphXExecutionProvider", "device_id"),
    DeviceKind("coreml", "CoreMLExecutionProvider"),
    DeviceKind("directml", "DmlExecutionProvider", "device_id"),
    DeviceKind("openvino", "OpenVINOExecutionProvider", "device_type", ("CPU", "GPU")),
)
ALIASES = {"rocm": "migraphx"}
# Options that each session sets. TensorFloat-32 would give fp32 graphs 10 bits of precision, which their gates refuse.
_FIXED_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
# The kinds that `auto` tries before the CPU, in this order
AUTO_ORDER = ("cuda", "migraphx", "directml")


@dataclass(frozen=True)
class Device:
    """A device: its name, such as `cuda:1`, its execution provider and the options of the provider."""

    name: str
    provider: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_cpu(self) -> bool:
        """Whether this is the CPU with ONNX Runtime's own kernels."""
        return self.provider == CPU_PROVIDER

    def providers(self) -> list[Any]:
        """Return the providers of a session, in the form that `onnxruntime.InferenceSession` takes."""
        if self.is_cpu:
            return [CPU_PROVIDER]
        options = dict(self.options) | _FIXED_OPTIONS.get(self.provider, {})
        return [(self.provider, options), CPU_PROVIDER]


CPU = Device("cpu", CPU_PROVIDER)


def parse_devices(text: object) -> tuple[Device, ...] | None:
    """Return the devices that a `device` option names, separated by commas; None for `auto`.

    :raises ConfigError: if a name is not the name of a device.
    """
    if text == AUTO:
        return None
    devices = [_parse(name) for name in text.split(",")] if isinstance(text, str) else [None]
    known = [device for device in devices if device is not None]
    if len(known) != len(devices):
        raise ConfigError("device", expected=_syntax(), actual=repr(text))
    return tuple(known)


def device_of_kind(name: str) -> Device:
    """Return the device that the name of a kind without an option selects."""
    return next(Device(kind.name, kind.provider) for kind in KINDS if kind.name == name)


def describe_provider(provider: str) -> str:
    """Return the name of the device kind with a provider; the provider's own name for any other one."""
    return next((kind.name for kind in KINDS if kind.provider == provider), provider)


def _parse(text: str) -> Device | None:
    name, colon, value = text.partition(":")
    name = ALIASES.get(name, name)
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None:
        return Device(text, text) if _PROVIDER.fullmatch(text) else None
    if not colon:
        return Device(name, kind.provider)
    is_value = value in kind.values if kind.values else _INDEX.fullmatch(value) is not None
    if kind.option is None or not is_value:
        return None
    value = value if kind.values else str(int(value))
    return Device(f"{name}:{value}", kind.provider, ((kind.option, value),))


def _syntax() -> str:
    names = ", ".join([AUTO, *(kind.syntax for kind in KINDS)])
    return f"{names}, or an execution provider of ONNX Runtime; several with commas between them"


class Devices:
    """The devices that run a model, which take turns, and the providers that run its nodes. Thread-safe."""

    def __init__(self, chosen: Sequence[Device] = (CPU,)) -> None:
        """Wrap the chosen devices, at least one."""
        self.chosen = tuple(chosen)
        self._lock = threading.Lock()
        self._providers: dict[tuple[str, str], Mapping[str, int | None]] = {}

    @property
    def name(self) -> str:
        """The names of the devices, separated by commas."""
        return ",".join(device.name for device in self.chosen)

    @property
    def count(self) -> int:
        """The number of devices."""
        return len(self.chosen)

    @property
    def is_cpu(self) -> bool:
        """Whether all of them are the CPU."""
        return all(device.is_cpu for device in self.chosen)

    @property
    def is_one_cpu(self) -> bool:
        """Whether there is one session, on the CPU, whose runs share its threads."""
        return self.count == 1 and self.is_cpu

    def record(self, graph: str, device: Device, nodes: Mapping[str, int | None]) -> None:
        """Remember how many nodes of a graph each provider runs on a device."""
        with self._lock:
            self._providers[graph, device.name] = dict(nodes)

    def providers(self) -> dict[str, int | None]:
        """Return the number of nodes that each provider runs; empty before a graph is loaded.

        None stands for all nodes of graphs that are on the CPU, which are not counted.
        """
        with self._lock:
            recorded = list(self._providers.values())
        merged: dict[str, int | None] = {}
        for nodes in recorded:
            for provider, count in nodes.items():
                known = merged.get(provider, 0)
                merged[provider] = None if known is None or count is None else known + count
        return merged

    def create(self, session: Callable[[Device], Any]) -> Any:
        """Create a session for each device; of several, the result runs one after the other."""
        sessions = [session(device) for device in self.chosen]
        return sessions[0] if len(sessions) == 1 else SessionsInTurn(sessions)


class SessionsInTurn:
    """Sessions of the same graph on several devices; each run takes the next one."""

    def __init__(self, sessions: Sequence[Any]) -> None:
        """Wrap the sessions, at least one."""
        self.sessions = tuple(sessions)
        self._turns = itertools.count()

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, Any], options: Any = None) -> Any:
        """Run the graph with the next session, as `onnxruntime.InferenceSession.run` does."""
        return self.sessions[next(self._turns) % len(self.sessions)].run(outputs, feeds, options)
