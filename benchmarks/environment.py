"""The environment that every measured process starts with, and how a process fails."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class Failed(Exception):
    """A process ended early or broke the protocol; `detail` is for the console and may name paths."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def child_environment(threads: int | None = None) -> dict[str, str]:
    """Return the environment of a measured process: offline, and with the ONNX Runtime of this Python for Rust.

    :param threads: the threads of OpenMP and BLAS libraries; by default these libraries decide.
    """
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads)) if threads else {}
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | limits
    if "ORT_DYLIB_PATH" not in environment and (library := _onnxruntime_library()):
        environment["ORT_DYLIB_PATH"] = str(library)
    return environment


def _onnxruntime_library() -> Path | None:
    """Return the shared library that the onnxruntime package ships."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or []) if spec else []
    libraries = [path for folder in folders for path in sorted(Path(folder, "capi").glob("libonnxruntime.*"))]
    return libraries[0] if libraries else None
