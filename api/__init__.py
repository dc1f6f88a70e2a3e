"""Export PyTorch and spaCy models as ONNX artifacts, and run them with ONNX Runtime.

from onnx_ml_bridge import OnnxMlBridge

with OnnxMlBridge.open("dist/all-minilm-l6-v2") as bridge:
    vector = bridge.generate_embedding("Kofi signed the lease on Tuesday.")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .artifacts.errors import (
    ArtifactError,
    BackendError,
    BuildError,
    ClosedError,
    ConfigError,
    DependencyError,
    DeviceError,
    InferenceError,
    InputError,
    OnnxMlBridgeError,
    OverloadedError,
    StoppedError,
    StoreError,
    TaskNotLoadedError,
)
from .runtime.answers import Fallback, Location, Usage
from .runtime.bridge import OnnxMlBridge
from .runtime.bridge_config import open_bridge
from .runtime.cancellation import CancelToken
from .runtime.entities import Entities, Entity
from .runtime.handles.embedder import Embedder, Embedding, Embeddings, EmbedOptions
from .runtime.handles.embedding_windows import EmbeddingWindow, EmbeddingWindows
from .runtime.handles.recognizer import RecognizeOptions, Recognizer
from .runtime.handles.reranker import Ranked, Reranker, RerankOptions
from .runtime.handles.summarizer import SummarizeOptions, Summarizer, Summary
from .runtime.interface import MlBridge
from .runtime.metrics import MetricsCollector
from .runtime.options import BridgeOptions, Model, ModelInfo, Task
from .runtime.status import Health, ModelState, ModelStatus
from .runtime.verify import VariantReplay, VerifyReport, verify

if TYPE_CHECKING:
    from .artifacts.store.store import Store, StoredTag, StoredVersion
    from .backends.composite import CompositeMlBridge
    from .backends.llama_cpp import Gguf, LlamaCppMlBridge
    from .backends.models import ApiModel
    from .backends.openai import OpenAiMlBridge
    from .backends.server import ApiServer
    from .building import build
    from .cli.build import Built
    from .cli.config import ModelConfig

__all__ = [
    "ApiModel",
    "ApiServer",
    "ArtifactError",
    "BackendError",
    "BridgeOptions",
    "BuildError",
    "Built",
    "CancelToken",
    "ClosedError",
    "CompositeMlBridge",
    "ConfigError",
    "DependencyError",
    "DeviceError",
    "EmbedOptions",
    "Embedder",
    "Embedding",
    "EmbeddingWindow",
    "EmbeddingWindows",
    "Embeddings",
    "Entities",
    "Entity",
    "Fallback",
    "Gguf",
    "Health",
    "InferenceError",
    "InputError",
    "LlamaCppMlBridge",
    "Location",
    "MetricsCollector",
    "MlBridge",
    "Model",
    "ModelConfig",
    "ModelInfo",
    "ModelState",
    "ModelStatus",
    "OnnxMlBridge",
    "OnnxMlBridgeError",
    "OpenAiMlBridge",
    "OverloadedError",
    "Ranked",
    "RecognizeOptions",
    "Recognizer",
    "RerankOptions",
    "Reranker",
    "StoppedError",
    "Store",
    "StoreError",
    "StoredTag",
    "StoredVersion",
    "SummarizeOptions",
    "Summarizer",
    "Summary",
    "Task",
    "TaskNotLoadedError",
    "Usage",
    "VariantReplay",
    "VerifyReport",
    "build",
    "open_bridge",
    "verify",
]
# Public names whose modules are for extras: they are imported on first access.
_OPTIONAL_NAMES = {"Built": "cli.build", "ModelConfig": "cli.config", "build": "building"}
_OPTIONAL_NAMES |= {"ApiModel": "backends.models", "ApiServer": "backends.server"}
_OPTIONAL_NAMES |= {"CompositeMlBridge": "backends.composite", "OpenAiMlBridge": "backends.openai"}
_OPTIONAL_NAMES |= dict.fromkeys(("Gguf", "LlamaCppMlBridge"), "backends.llama_cpp")
_OPTIONAL_NAMES |= dict.fromkeys(("Store", "StoredTag", "StoredVersion"), "artifacts.store.store")


def __getattr__(name: str) -> Any:
    """Return `__version__` or a name of `_OPTIONAL_NAMES`, whose module is imported on first access."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onnx-ml-bridge")
    if name in _OPTIONAL_NAMES:
        return getattr(importlib.import_module(f".{_OPTIONAL_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
