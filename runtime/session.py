"""Create and run ONNX Runtime sessions with the options that FORMAT.md requires."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, DependencyError, DeviceError, InferenceError
from . import cpu
from .cancellation import Watch
from .devices import CPU, CPU_PROVIDER, Device, Devices
from .forking import abandon, call_after_fork
from .provider_report import count_nodes, profiled

# On CPUs, ONNX Runtime's fused SkipLayerNormalization is slower than the Add and LayerNormalization it replaces.
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]


def import_onnxruntime() -> Any:
    """Import `onnxruntime`, which is an optional dependency.

    :raises DependencyError: if it is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DependencyError(
            "ONNX Runtime is not installed",
            hint="Run: pip install 'onnx-ml-bridge[cpu]' (or 'onnx-ml-bridge[gpu]' for NVIDIA GPUs).",
        ) from error


class GraphSession:
    """An ONNX Runtime session for one graph. Thread-safe. The first use loads it, in a forked process once more."""

    def __init__(self, path: Path, threads: int, devices: Devices | None = None) -> None:
        """Create a session without reading the file.

        :param path: the ONNX file.
        :param threads: threads of one run.
        :param devices: the devices that run the graph; None is the CPU.
        """
        self._path = path
        self._threads = threads
        self._devices = devices or Devices()
        self._lock = threading.Lock()
        self._session: Any = None
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Forget the session, whose threads do not exist in a child process; the next run loads the graph again."""
        self._lock = threading.Lock()
        if self._session is not None:
            abandon(self._session)
            self._session = None

    def load(self) -> None:
        """Load the graph if it is not loaded yet; concurrent callers wait for the same load.

        :raises ArtifactError: with the code `graph` if ONNX Runtime cannot load it.
        """
        self._loaded()

    def _loaded(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = self._devices.create(self._create)
            return self._session

    def _create(self, device: Device) -> Any:
        session, nodes = create_device_session(self._path, self._threads, device)
        self._devices.record(self._path.name, device, nodes)
        return session

    def unload(self) -> None:
        """Free the graph as soon as the runs in progress have ended; the next run loads it again."""
        with self._lock:
            self._session = None

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], watch: Watch | None = None
    ) -> list[NDArray[Any]]:
        """Run the graph, which is loaded first if necessary.

        :param outputs: the names of the outputs to compute.
        :param feeds: the inputs by name.
        :param watch: can stop the run, between two nodes of the graph; the session stays usable.
        :returns: the arrays in the order of `outputs`.
        :raises InferenceError: if ONNX Runtime fails.
        :raises StoppedError: if the watch stopped the run.
        """
        session = self._loaded()
        options = import_onnxruntime().RunOptions()
        # Log only fatal errors: all other errors, such as that of a stopped run, are raised as exceptions
        options.log_severity_level = 4
        with nullcontext() if watch is None else watch.running(options):
            try:
                return [np.asarray(value) for value in session.run(list(outputs), dict(feeds), options)]
            except Exception as error:  # ONNX Runtime's exceptions have no narrower common base class
                if watch is not None:
                    watch.check()
                raise InferenceError(f"ONNX Runtime failed on {self._path.name}: {error}") from error


def create_session(
    path: Path, threads: int, extra_options: Mapping[str, str] | None = None, device: Device = CPU
) -> Any:
    """Create an `onnxruntime.InferenceSession` with the options that FORMAT.md requires.

    :param threads: threads of one run.
    :param extra_options: further session config entries.
    :param device: the device that runs the graph.
    :raises ArtifactError: with the code `graph` if ONNX Runtime cannot load the graph.
    :raises DeviceError: if the device cannot be used.
    """
    options = _session_options(threads, extra_options or {})
    return _create(path, options, device)


def create_device_session(path: Path, threads: int, device: Device) -> tuple[Any, dict[str, int | None]]:
    """Create a session as `create_session` does, and return it with the number of nodes that each provider runs.

    On the CPU, no other provider can run a node, and the number is None: nothing is counted.
    """
    if device.is_cpu:
        return create_session(path, threads), {CPU_PROVIDER: None}
    options = _session_options(threads, {})
    with profiled(options):
        session = _create(path, options, device)
        return session, dict(count_nodes(session))


def check_provider(session: Any, device: Device) -> None:
    """Raise `DeviceError` if a session does not have the provider of its device: ONNX Runtime may only log why."""
    if device.provider not in session.get_providers():
        raise DeviceError(device.name, f"{device.provider} could not be initialized; ONNX Runtime has logged why")


def _session_options(threads: int, extra_options: Mapping[str, str]) -> Any:
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if cpu.needs_exact_kernel():
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in extra_options.items():
        options.add_session_config_entry(key, value)
    return options


def _create(path: Path, options: Any, device: Device) -> Any:
    # Without `enable_fallback=0`, a provider that fails is replaced by the CPU, which only a line on stdout tells.
    others = {"disabled_optimizers": _SLOWER_FUSIONS} if device.is_cpu else {"enable_fallback": 0}
    try:
        session = import_onnxruntime().InferenceSession(str(path), options, providers=device.providers(), **others)
    except Exception as error:  # ONNX Runtime's exceptions have no narrower common base class
        where = "" if device.is_cpu else f" on {device.name}"
        raise ArtifactError("graph", f"ONNX Runtime cannot load {path.name}{where}: {error}") from error
    check_provider(session, device)
    return session
