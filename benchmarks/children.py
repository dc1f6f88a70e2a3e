"""What every process is started with, and how it fails."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class Failed(Exception):
    """A process ended or answered otherwise than agreed; `detail` is for the console and may name paths."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.detail = detail


def child_environment(threads: int | None = None) -> dict[str, str]:
    """The environment of every measured process: offline, and Rust with the ONNX Runtime that Python has.

    :param threads: what OpenMP and BLAS libraries may use; by default they decide.
    """
    pinned = dict.fromkeys(_THREAD_VARIABLES, str(threads)) if threads else {}
    found = os.environ | {"HF_HUB_OFFLINE": "1"} | pinned
    if "ORT_DYLIB_PATH" not in found and (library := _onnxruntime_library()):
        found["ORT_DYLIB_PATH"] = str(library)
    return found


def _onnxruntime_library() -> Path | None:
    """The shared library that the onnxruntime package ships."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder, "capi").glob("libonnxruntime.*"))]
    return found[0] if found else None
