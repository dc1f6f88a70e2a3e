"""The environment variables of measured processes, and the exception for a process that fails."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class Failed(Exception):
    """A process ended early or violated the protocol; `detail` is only printed to the console and may contain paths."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def child_environment(threads: int | None = None) -> dict[str, str]:
    """Return the environment variables of a measured process.

    They prevent downloads, and make Rust load the same ONNX Runtime as this Python.

    :param threads: the number of threads of OpenMP and BLAS libraries; None leaves it to the libraries.
    """
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads)) if threads else {}
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | limits
    if "ORT_DYLIB_PATH" not in environment and (library := _onnxruntime_library()):
        environment["ORT_DYLIB_PATH"] = str(library)
    return environment


def _onnxruntime_library() -> Path | None:
    """Return the path of the shared library in the onnxruntime package."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or []) if spec else []
    libraries = [path for folder in folders for path in sorted(Path(folder, "capi").glob("libonnxruntime.*"))]
    return libraries[0] if libraries else None
