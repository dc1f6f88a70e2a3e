"""ONNX Runtime sessions, made the same way everywhere."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, DependencyError, InferenceError
from . import cpu
from .cancellation import Watch

# ONNX Runtime's SkipLayerNormalization kernel is slower on CPUs than the Add and LayerNormalization it replaces.
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, which neither the base install nor this module requires at import."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DependencyError(
            "ONNX Runtime is not installed",
            hint="Run: pip install 'onnx-ml-bridge[cpu]' (or 'onnx-ml-bridge[gpu]' for NVIDIA GPUs).",
        ) from error


class GraphSession:
    """One graph, loaded on first use; may be called from several threads at once."""

    def __init__(self, path: Path, threads: int) -> None:
        """Remember what to load; nothing is read yet."""
        self._path = path
        self._threads = threads
        self._lock = threading.Lock()
        self._session: Any = None

    def load(self) -> None:
        """Load the graph unless it is loaded; concurrent callers wait for one load.

        :raises ArtifactError: with the code `graph` when ONNX Runtime refuses it.
        """
        with self._lock:
            if self._session is None:
                self._session = create_session(self._path, self._threads)

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], watch: Watch | None = None
    ) -> list[NDArray[Any]]:
        """Run the graph; the arrays come in the order of `outputs`.

        :param watch: stops the graph between two of its nodes; the session can be used on afterwards.
        :raises InferenceError: when ONNX Runtime fails.
        :raises StoppedError: when the watch ended the run.
        """
        if self._session is None:
            self.load()
        options = import_onnxruntime().RunOptions()
        options.log_severity_level = 4  # errors are raised; ONNX Runtime would also print one for every stop
        with nullcontext() if watch is None else watch.running(options):
            try:
                return [np.asarray(value) for value in self._session.run(list(outputs), dict(feeds), options)]
            except Exception as error:  # ONNX Runtime's exceptions have no common base but this
                if watch is not None:
                    watch.check()
                raise InferenceError(f"ONNX Runtime failed on {self._path.name}: {error}") from error


def create_session(path: Path, threads: int, extra_options: Mapping[str, str] | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU with the options that FORMAT.md prescribes."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if cpu.needs_exact_kernel():
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in (extra_options or {}).items():
        options.add_session_config_entry(key, value)
    try:
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER_FUSIONS
        )
    except Exception as error:  # as above
        raise ArtifactError("graph", f"ONNX Runtime refuses {path.name}: {error}") from error
