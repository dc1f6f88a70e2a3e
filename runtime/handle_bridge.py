"""`HandleBridge`: the calls of `MlBridge` over handles, whatever is behind them."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, InputError, TaskNotLoadedError
from .answers import Location
from .entities import Entity
from .handles.embedder import Embedder, EmbedOptions
from .handles.handle import Handle, check_list
from .handles.recognizer import Recognizer
from .handles.reranker import Ranked, Reranker, RerankOptions
from .handles.summarizer import Summarizer
from .interface import MlBridge
from .options import ModelInfo, Task
from .status import Health, ModelState, ModelStatus

logger = logging.getLogger(__name__)
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])
Self = TypeVar("Self", bound="HandleBridge")
# The handle of each task
KINDS: dict[Task, type[Handle[Any]]] = {kind.task: kind for kind in (Embedder, Recognizer, Summarizer, Reranker)}


class HandleBridge(MlBridge):
    """A bridge that has a handle for each of its models; a subclass says which."""

    @abstractmethod
    def _all_handles(self) -> Iterable[Handle[Any]]:
        """Return the handles of all models, in the order in which they were opened."""

    @abstractmethod
    def _handle(self, kind: type[AnyHandle], model: str | None) -> AnyHandle:
        """Return the handle with the given name, or the default of the task.

        :raises TaskNotLoadedError: if no model of the task is open.
        :raises InputError: with the code `model_not_found` if there is no such model, or several and no default.
        """

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the models in the order in which they were opened."""
        return tuple(handle.info for handle in self._all_handles())

    def embedder(self, model: str | None = None) -> Embedder:
        """Return the handle of a sentence embedding model."""
        return self._handle(Embedder, model)

    def recognizer(self, model: str | None = None) -> Recognizer:
        """Return the handle of a model for named entities."""
        return self._handle(Recognizer, model)

    def summarizer(self, model: str | None = None) -> Summarizer:
        """Return the handle of a summarization model."""
        return self._handle(Summarizer, model)

    def reranker(self, model: str | None = None) -> Reranker:
        """Return the handle of a reranking model."""
        return self._handle(Reranker, model)

    def generate_embedding(
        self,
        text: str,
        *,
        model: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed one text: float32 `[dim]`, or `[dimensions]`. Logs a warning if the text was truncated."""
        vectors = self.generate_embeddings_batch([text], model=model, prompt_name=prompt_name, dimensions=dimensions)
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def generate_embeddings_batch(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed several texts: float32 `[n, dim]`, or `[n, dimensions]`. Logs a warning if any text was truncated."""
        embedder = self.embedder(model)
        answer = embedder.embed(texts, EmbedOptions(prompt_name=prompt_name, dimensions=dimensions))
        _warn_of_truncation(answer.truncated.tolist(), "texts", embedder.backend.max_tokens)
        return answer.vectors

    def extract_entities(self, text: str, *, model: str | None = None) -> list[Entity]:
        """Find the entities of one text, in the order of the text. Logs a warning if the text was truncated."""
        return self.extract_entities_batch([text], model=model)[0]

    def extract_entities_batch(self, texts: Sequence[str], *, model: str | None = None) -> list[list[Entity]]:
        """Find the entities of several texts. Logs a warning if any text was truncated."""
        answers = self.recognizer(model).recognize(texts)
        _warn_of_truncation([answer.truncated for answer in answers], "texts", None, "a stride reads whole texts")
        return [list(answer.entities) for answer in answers]

    def summarize(self, messages: Sequence[str], *, model: str | None = None) -> str:
        """Summarize one list of messages, read as one text. Logs a warning if this text was truncated."""
        check_list(messages, "a list of messages")
        return self.summarize_batch([messages], model=model)[0]

    def summarize_batch(self, inputs: Sequence[Sequence[str]], *, model: str | None = None) -> list[str]:
        """Summarize several lists of messages. Logs a warning if any was truncated."""
        summarizer = self.summarizer(model)
        summaries = summarizer.summarize(inputs)
        truncated, limit = [summary.truncated for summary in summaries], summarizer.backend.max_tokens
        _warn_of_truncation(truncated, "inputs", limit, "map_reduce reads whole inputs")
        return [summary.text for summary in summaries]

    def rerank(
        self, query: str, documents: Sequence[str], top_k: int | None = None, *, model: str | None = None
    ) -> list[Ranked]:
        """Return documents by descending score. Logs a warning if a pair of query and document was truncated."""
        reranker = self.reranker(model)
        ranked = reranker.rerank(query, documents, RerankOptions(top_k=top_k))
        _warn_of_truncation([each.truncated for each in ranked], "pairs", reranker.backend.max_tokens)
        return ranked

    def get_embedding_model_name(self) -> str:
        """Return the name of the default sentence embedding model."""
        return self.embedder().info.name

    def warm_up(self) -> None:
        """Load the graphs of all models now instead of in their first calls."""
        for handle in self._all_handles():
            handle.warm_up()

    def unload(self) -> None:
        """Free the graphs of every model as soon as no call uses it; its next call loads them again."""
        for handle in self._all_handles():
            handle.unload()

    def status(self) -> tuple[ModelStatus, ...]:
        """Return the status of every model. Runs nothing and never waits for traffic."""
        return tuple(handle.status() for handle in self._all_handles())

    def health_check(self) -> bool:
        """Return whether at least one model is open and none is `failed`. Runs nothing; see `status`."""
        found = self.status()
        return bool(found) and all(each.state != ModelState.FAILED for each in found)

    def self_test(self) -> None:
        """Run every model on a short text; the first error is raised."""
        for handle in self._all_handles():
            handle.self_test()

    def health(self) -> tuple[Health, ...]:
        """Return whether each model works, without a run; a server is asked for its models, which costs no tokens."""
        return tuple(handle.health() for handle in self._all_handles())

    def location(self, task: Task | str) -> Location | None:
        """Return where the default model of a task runs; None if there is none.

        :raises ConfigError: if there is no such task.
        """
        if task not in list(Task):
            raise ConfigError("task", expected=f"one of: {', '.join(Task)}", actual=repr(task))
        try:
            return self._handle(KINDS[Task(task)], None).info.location
        except (TaskNotLoadedError, InputError):
            return None

    def __enter__(self: Self) -> Self:
        """Return the bridge."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bridge."""
        self.close()


def _warn_of_truncation(truncated: Sequence[bool], what: str, limit: int | None, remedy: str | None = None) -> None:
    if count := sum(truncated):
        tokens = "" if limit is None else f" to {limit} tokens"
        hint = "" if remedy is None else f"; {remedy}"
        logger.warning("%d of %d %s were truncated%s%s", count, len(truncated), what, tokens, hint)
