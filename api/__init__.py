"""Export PyTorch and spaCy models as ONNX artifacts, and run them with ONNX Runtime.

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
    from .runtime.rerank import Ranked
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
    "Ranked",
    "StoppedError",
    "SummarizeOptions",
    "Summary",
    "TaskNotLoadedError",
    "VerifyReport",
    "verify",
]
# Public names that only one model family uses, with their modules: `__getattr__` imports a module on the first access
_FAMILY_NAMES = {
    "EmbeddingResult": "runtime.sentence_embedding",
    "Ranked": "runtime.rerank",
    "SummarizeOptions": "runtime.summarization.summarize_options",
    "Summary": "runtime.summarization.summarizer",
}


def __getattr__(name: str) -> Any:
    """Return `__version__` or a name of `_FAMILY_NAMES`; the module that it comes from is imported on first access."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onnx-ml-bridge")
    if name in _FAMILY_NAMES:
        return getattr(importlib.import_module(f".{_FAMILY_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
