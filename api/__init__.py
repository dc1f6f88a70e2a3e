"""PyTorch models as ONNX artifacts that run without Python.

from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open(embedding="dist/all-minilm-l6-v2")
vector = bridge.generate_embedding("Kofi signed the lease on Tuesday.")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .artifacts.errors import (
    ArtifactError,
    BuildError,
    ConfigError,
    DependencyError,
    InferenceError,
    InputError,
    OnnxMlBridgeError,
    StoppedError,
    TaskNotLoadedError,
)
from .runtime.bridge import OnnxMlBridge
from .runtime.cancellation import CancelToken
from .runtime.entities import Entities, Entity
from .runtime.verify import VerifyReport, verify

if TYPE_CHECKING:
    from .runtime.sentence_embedding import EmbeddingResult
    from .runtime.summarization.summarize_options import SummarizeOptions
    from .runtime.summarization.summarizer import Summary

__all__ = [
    "ArtifactError",
    "BuildError",
    "CancelToken",
    "ConfigError",
    "DependencyError",
    "EmbeddingResult",
    "Entities",
    "Entity",
    "InferenceError",
    "InputError",
    "OnnxMlBridge",
    "OnnxMlBridgeError",
    "StoppedError",
    "SummarizeOptions",
    "Summary",
    "TaskNotLoadedError",
    "VerifyReport",
    "verify",
]
# Names of one family, and the modules that are imported when they are used
_OF_FAMILIES = {
    "EmbeddingResult": "runtime.sentence_embedding",
    "SummarizeOptions": "runtime.summarization.summarize_options",
    "Summary": "runtime.summarization.summarizer",
}


def __getattr__(name: str) -> Any:
    """Names of one family, and `__version__`: importlib.metadata takes a tenth of the package's import time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onnx-ml-bridge")
    if name in _OF_FAMILIES:
        return getattr(importlib.import_module(f".{_OF_FAMILIES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
