"""Create and run ONNX Runtime sessions with the options that FORMAT.md requires."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, DependencyError, DeviceError, InferenceError
from . import cpu
from .cancellation import Stop
from .devices import CPU, CPU_PROVIDER, Device, Devices
from .forking import abandon, call_after_fork
from .meter import Meter
from .pending_release import PENDING_RELEASE
from .provider_report import count_nodes, profile_prefix
from .shared_session import SharedSession

logger = logging.getLogger(__name__)
# On CPUs, the fused kernels SkipLayerNormalization and BiasGelu are slower than the two kernels that each replaces.
_SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]
# How long the threads of a session wait actively for work, in microseconds. Between the nodes of a run this is faster
# than sleeping; without a limit, the threads of models that are used in turn take CPU time from each other.
_SPIN_MICROSECONDS = "100"
# Part of the error of a session with its own threads if another library called `set_global_thread_pool_sizes`.
_GLOBAL_POOL = "use_per_session_threads must be false"
# After a run, the arena returns memory to the system.
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")


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

    def __init__(
        self,
        path: Path,
        threads: int,
        devices: Devices | None = None,
        *,
        shrink_above: int | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Create a session without reading the file.

        :param path: the ONNX file.
        :param threads: threads of a run that is alone; runs at the same time use one each.
        :param devices: the devices that run the graph; None is the CPU.
        :param shrink_above: on the CPU, runs with an input of more elements return the memory of their activations to
            the system; other runs keep it for the next ones. None means all runs keep it.
        :param meter: records the runs.
        """
        self._path = path
        self.threads = threads
        self._devices = devices or Devices()
        self._meter = meter
        self._shrink_above = shrink_above if self._devices.is_cpu else None
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
        :raises DeviceError: if a device cannot be used.
        """
        self._loaded()

    def _loaded(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = self._devices.create(self._create)
            return self._session

    def _create(self, device: Device) -> Any:
        session, nodes = create_device_session(self._path, self.threads, device)
        self._devices.record(self._path.name, device, nodes)
        is_shared = self._devices.is_one_cpu and self.threads > 1
        if is_shared and session.get_session_options().use_per_session_threads:
            return SharedSession(session, self.threads)
        return session

    def may_overlap(self) -> bool:
        """Whether a run may start now while another one is in progress, on the CPU with several threads.

        Runs of a session that uses the process's global thread pool would all use the whole pool.
        """
        session = self._session
        return session is None or (isinstance(session, SharedSession) and PENDING_RELEASE.allows_run())

    def unload(self) -> None:
        """Free the graph as soon as the runs in progress have ended; the next run loads it again."""
        with self._lock:
            self._session = None

    def run(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, NDArray[Any]],
        stop: Stop | None = None,
    ) -> list[NDArray[Any]]:
        """Run the graph, which is loaded first if necessary.

        :param outputs: the names of the outputs to compute.
        :param feeds: the inputs by name.
        :param stop: can stop the run, between two nodes of the graph; the session stays usable.
        :returns: the arrays in the order of `outputs`. They are copies: an array in the memory of the arena would keep
            a large part of it, even after the session is freed.
        :raises InferenceError: if ONNX Runtime fails.
        :raises StoppedError: if the run was stopped.
        """
        session, options = self._loaded(), self._run_options(feeds)
        with nullcontext() if stop is None else stop.running(options), self._metered(feeds):
            try:
                return [np.array(value) for value in session.run(list(outputs), dict(feeds), options)]
            except Exception as error:  # ONNX Runtime's exceptions have no narrower common base class
                if stop is not None:
                    stop.check()
                raise InferenceError(f"ONNX Runtime failed on {self._path.name}: {error}") from error

    @contextmanager
    def _metered(self, feeds: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """Record a run."""
        if self._meter is None:
            yield
            return
        self._meter.run(_tokens(feeds))
        started = time.perf_counter()
        try:
            yield
        finally:
            self._meter.run_ended(time.perf_counter() - started)

    def _run_options(self, feeds: Mapping[str, NDArray[Any]]) -> Any:
        options = import_onnxruntime().RunOptions()
        # Log only fatal errors: all other errors, such as that of a stopped run, are raised as exceptions
        options.log_severity_level = 4
        if self._shrink_above is not None and max(feed.size for feed in feeds.values()) > self._shrink_above:
            options.add_run_config_entry(*_SHRINK)
        return options


def _tokens(feeds: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of tokens of a run, padding included; spaCy's graphs have inputs of one row for each."""
    ids = feeds.get("input_ids")
    return next(iter(feeds.values())).shape[0] if ids is None else ids.size


def create_session(
    path: Path,
    threads: int,
    extra_options: Mapping[str, str] | None = None,
    device: Device = CPU,
    profile: str | None = None,
) -> Any:
    """Create an `onnxruntime.InferenceSession` with the options that FORMAT.md requires.

    :param threads: threads of one run.
    :param extra_options: further session config entries.
    :param device: the device that runs the graph.
    :param profile: the beginning of the path of the file with the profile of all runs; None writes no profile.
    :raises ArtifactError: with the code `graph` if ONNX Runtime cannot load the graph.
    :raises DeviceError: if the device cannot be used.
    """
    try:
        try:
            options = _session_options(threads, extra_options or {}, profile)
            session = _create(path, options, device)
        except RuntimeError as error:
            if _GLOBAL_POOL not in str(error):
                raise
            logger.info(
                "%s uses the process's global thread pool of ONNX Runtime instead of its own threads", path.name
            )
            session = _create(path, _session_options(None, extra_options or {}, profile), device)
    except Exception as error:  # ONNX Runtime's exceptions have no narrower common base class
        where = "" if device.is_cpu else f" on {device.name}"
        raise ArtifactError("graph", f"ONNX Runtime cannot load {path.name}{where}: {error}") from error
    check_provider(session, device)
    return session


def check_provider(session: Any, device: Device) -> None:
    """Raise `DeviceError` if a session does not have the provider of its device: ONNX Runtime may only log why."""
    if device.provider not in session.get_providers():
        raise DeviceError(device.name, f"{device.provider} could not be initialized; ONNX Runtime has logged why")


def create_device_session(path: Path, threads: int, device: Device) -> tuple[Any, dict[str, int | None]]:
    """Create a session as `create_session` does, and return it with the number of nodes that each provider runs.

    On the CPU, no other provider can run a node, and the number is None: nothing is counted.
    """
    if device.is_cpu:
        return create_session(path, threads), {CPU_PROVIDER: None}
    with profile_prefix() as prefix:
        session = create_session(path, threads, device=device, profile=prefix)
        return session, dict(count_nodes(session))


def _session_options(threads: int | None, extra_options: Mapping[str, str], profile: str | None) -> Any:
    """Return the options of a session with its own threads, or with those of the process if `threads` is None."""
    options = import_onnxruntime().SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    else:
        options.use_per_session_threads = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    if cpu.needs_exact_kernel():
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in extra_options.items():
        options.add_session_config_entry(key, value)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return options


def _create(path: Path, options: Any, device: Device) -> Any:
    others = {"disabled_optimizers": _SLOWER_FUSIONS} if device.is_cpu else {}
    # The fallback prints to the standard output, and replaces a provider that fails by the CPU
    return import_onnxruntime().InferenceSession(
        str(path), options, providers=device.providers(), enable_fallback=0, **others
    )
