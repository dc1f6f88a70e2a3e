"""PyTorch models as ONNX artifacts that run without Python.

from onnx_ml_bridge import OnnxMlBridge

bridge = OnnxMlBridge.open(embedding="dist/all-minilm-l6-v2")
vector = bridge.generate_embedding("Kofi signed the lease on Tuesday.")
"""

from __future__ import annotations

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
from .runtime.sentence_embedding import EmbeddingResult
from .runtime.summarization.summarize_options import SummarizeOptions
from .runtime.summarization.summarizer import Summary
from .runtime.verify import VerifyReport, verify

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


def __getattr__(name: str) -> str:
    """`__version__`, read when it is asked for: importlib.metadata takes a tenth of the package's import time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onnx-ml-bridge")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
