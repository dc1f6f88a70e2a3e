"""`MlBridge`: the calls that an application makes to its models, whatever runs them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError
from .answers import Location
from .entities import Entity
from .handles.embedder import Embedder
from .handles.recognizer import Recognizer
from .handles.reranker import Ranked, Reranker
from .handles.summarizer import Summarizer
from .options import Model, ModelInfo, StrPath, Task
from .status import Health, ModelStatus

Self = TypeVar("Self", bound="MlBridge")


class MlBridge(Protocol):
    """Any number of models, each with a name. Thread-safe.

    `model` selects a model by its name; None selects the default model of the task, which is the only model of the
    task, or the one that the caller declared. The calls are shortcuts for the calls of the handles; they use the
    model's default options and log a warning if a text was truncated.

    Every call raises `TaskNotLoadedError` if no model of its task is open, and `InputError` with the code
    `model_not_found` if there is no model with the name, or several models and no default.
    """

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the models in the order in which they were opened."""

    def add(self, model: StrPath | Model) -> ModelInfo:
        """Open one more model.

        :raises ConfigError: if the bridge cannot change its models; `remove` and `reload` likewise.
        """
        raise _fixed("add", self)

    def remove(self, name: str) -> None:
        """Close one model after its running calls have ended."""
        raise _fixed("remove", self)

    def reload(
        self,
        name: str,
        path: StrPath | None = None,
        *,
        expect_identity: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Replace one model by another version, which is checked first; see `Handle.reload`."""
        raise _fixed("reload", self)

    def embedder(self, model: str | None = None) -> Embedder:
        """Return the handle of a sentence embedding model."""

    def recognizer(self, model: str | None = None) -> Recognizer:
        """Return the handle of a model for named entities."""

    def summarizer(self, model: str | None = None) -> Summarizer:
        """Return the handle of a summarization model."""

    def reranker(self, model: str | None = None) -> Reranker:
        """Return the handle of a reranking model."""

    def generate_embedding(
        self,
        text: str,
        *,
        model: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed one text: float32 `[dim]`, or `[dimensions]`."""

    def generate_embeddings_batch(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed several texts: float32 `[n, dim]`, or `[n, dimensions]`."""

    def extract_entities(self, text: str, *, model: str | None = None) -> list[Entity]:
        """Find the entities of one text, in the order of the text."""

    def extract_entities_batch(self, texts: Sequence[str], *, model: str | None = None) -> list[list[Entity]]:
        """Find the entities of several texts."""

    def summarize(self, messages: Sequence[str], *, model: str | None = None) -> str:
        """Summarize one list of messages, read as one text."""

    def summarize_batch(self, inputs: Sequence[Sequence[str]], *, model: str | None = None) -> list[str]:
        """Summarize several lists of messages."""

    def rerank(
        self, query: str, documents: Sequence[str], top_k: int | None = None, *, model: str | None = None
    ) -> list[Ranked]:
        """Return documents by descending score for a query: all of them, or the first `top_k`."""

    def get_embedding_model_name(self) -> str:
        """Return the name of the default sentence embedding model."""

    def status(self) -> tuple[ModelStatus, ...]:
        """Return the status of every model. Runs nothing and never waits for traffic."""

    def health_check(self) -> bool:
        """Return whether at least one model is open and none is `failed`. Runs nothing."""

    def health(self) -> tuple[Health, ...]:
        """Return whether each model works, without a run. Servers are asked, which takes time but no tokens."""

    def location(self, task: Task | str) -> Location | None:
        """Return where the default model of a task runs; None if there is none. The farthest of a chain counts."""

    def self_test(self) -> None:
        """Run every model on a short text; the first error is raised."""

    def warm_up(self) -> None:
        """Load the graphs of all models now instead of in their first calls."""

    def unload(self) -> None:
        """Free the graphs of every model as soon as no call uses it; its next call loads them again."""

    def close(self) -> None:
        """Close all models after their running calls have ended; later calls raise `TaskNotLoadedError`."""

    def __enter__(self: Self) -> Self:
        """Return the bridge."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bridge."""


def _fixed(call: str, bridge: MlBridge) -> ConfigError:
    return ConfigError(call, expected="a bridge that can change its models", actual=type(bridge).__name__)
