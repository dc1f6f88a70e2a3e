"""`OnnxMlBridge`: any number of ONNX models behind the calls of `MlBridge`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ClosedError, ConfigError, InputError, TaskNotLoadedError
from .budget import Budget
from .entities import Entity
from .forking import call_after_fork
from .handles.embedder import Embedder, EmbedOptions
from .handles.handle import Handle, check_list, checked_options, open_handle
from .handles.recognizer import Recognizer
from .handles.reranker import Ranked, Reranker, RerankOptions
from .handles.summarizer import Summarizer
from .interface import MlBridge
from .options import BridgeOptions, Model, ModelInfo, StrPath, Task, as_model
from .status import ModelState, ModelStatus

logger = logging.getLogger(__name__)
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])
Self = TypeVar("Self", bound="OnnxMlBridge")


class OnnxMlBridge(MlBridge):
    """Any number of open models, each with a name. Thread-safe.

    The Rust crate has a type of the same name with the same calls.
    """

    def __init__(self, handles: Iterable[Handle[Any]], defaults: Mapping[Task, str] | None = None) -> None:
        """Wrap models that are already open. Applications call `open` instead.

        :param defaults: the name of the default model of a task that has several models.
        :raises ConfigError: if two models have the same name, or if a default is not a model of its task.
        """
        self._handles: dict[str, Handle[Any]] = {}
        self._is_closed = False
        self._options, self._budget = BridgeOptions(), Budget()
        self._after_fork()
        call_after_fork(self)
        for handle in handles:
            name = handle.info.name
            _check_new(name, self._handles)
            self._handles[name] = handle
        self._defaults = _checked_defaults(defaults or {}, self._handles)

    def _after_fork(self) -> None:
        """Replace the lock of changes in a child process."""
        self._changing = threading.Lock()

    @classmethod
    def open(
        cls: type[Self],
        *models: StrPath | Model,
        defaults: Mapping[Task, str] | None = None,
        options: BridgeOptions | None = None,
    ) -> Self:
        """Check artifacts and create their models; graphs are loaded by the first call or by `warm_up`.

        :param models: folders of artifacts, or `Model` objects that also give a name, a variant or a time limit.
        :param defaults: the name of the default model of a task that has several models, as in
            `{"embedding": "minilm"}`.
        :raises ArtifactError: with the code of the first check that an artifact fails.
        :raises ConfigError: if there is nothing to open, an option is invalid, two models have the same name, or a
            default is not a model of its task.
        """
        if not models:
            raise ConfigError("models", expected="the folder of at least one artifact", actual="none")
        checked = checked_options(options)
        budget = Budget(checked.memory_mb)
        handles = [open_handle(model, checked, budget) for model in models]
        bridge = cls(handles, defaults)
        bridge._options, bridge._budget = checked, budget
        for model, handle in zip(models, handles, strict=True):
            if isinstance(model, Model) and model.preload:
                handle.warm_up()
        for info in bridge.models():
            logger.info(
                "%s: %s %s, variant %s, device %s", info.name, info.task, info.version, info.variant, info.device
            )
        return bridge

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the models in the order in which they were opened."""
        return tuple(handle.info for handle in self._handles.values())

    def add(self, model: StrPath | Model) -> ModelInfo:
        """Open one more model, with the options of the bridge.

        :raises ArtifactError: with the code of the first check that the artifact fails.
        :raises ConfigError: if the bridge has a model of the same name, or if a field of the model is invalid.
        :raises ClosedError: if the bridge was closed.
        """
        model = as_model(model)
        self._check_open()
        if model.name is not None:
            _check_new(model.name, self._handles)
        handle = open_handle(model, self._options, self._budget)
        _check_new(handle.info.name, self._handles)
        if model.preload:
            handle.warm_up()
        with self._changing:
            self._check_open()
            _check_new(handle.info.name, self._handles)
            self._handles = {**self._handles, handle.info.name: handle}
        return handle.info

    def remove(self, name: str) -> None:
        """Close one model: its running calls end first, and later calls of its handles raise `ClosedError`.

        :raises InputError: with the code `model_not_found` if there is no model with the name.
        :raises ClosedError: if the bridge was closed.
        """
        with self._changing:
            handle = self._named(name)
            self._handles = {known: each for known, each in self._handles.items() if each is not handle}
        handle.close()

    def reload(
        self,
        name: str,
        path: StrPath | None = None,
        *,
        expect_identity: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Replace one model by another version, which is checked first; see `Handle.reload`. Its handles stay valid.

        :raises InputError: with the code `model_not_found` if there is no model with the name.
        :raises OnnxMlBridgeError: if the new version is refused; the old version answers calls as before.
        """
        return self._named(name).reload(path, expect_identity=expect_identity, timeout=timeout)

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
        for handle in self._handles.values():
            handle.warm_up()

    def unload(self) -> None:
        """Free the graphs of every model as soon as no call uses it; its next call loads them again."""
        for handle in self._handles.values():
            handle.unload()

    def status(self) -> tuple[ModelStatus, ...]:
        """Return the status of every model. Runs nothing and never waits for traffic."""
        return tuple(handle.status() for handle in self._handles.values())

    def health_check(self) -> bool:
        """Return whether at least one model is open and none is `failed`. Runs nothing; see `status`."""
        found = self.status()
        return bool(found) and all(each.state != ModelState.FAILED for each in found)

    def self_test(self) -> None:
        """Run every model on a short text; the first error is raised."""
        for handle in self._handles.values():
            handle.self_test()

    def close(self) -> None:
        """Close all models after their running calls have ended.

        Later calls of the bridge raise `TaskNotLoadedError`, later calls of its handles `ClosedError`.
        """
        with self._changing:
            handles, self._handles = self._handles, {}
            self._is_closed = True
        for handle in handles.values():
            handle.close()

    def __enter__(self: Self) -> Self:
        """Return the bridge."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bridge."""
        self.close()

    def _handle(self, kind: type[AnyHandle], model: str | None) -> AnyHandle:
        """Return the handle with the given name, or the default of the task."""
        handles = {name: handle for name, handle in self._handles.items() if isinstance(handle, kind)}
        if not handles:
            raise TaskNotLoadedError(kind.task)
        if model is None:
            default = self._defaults.get(kind.task)  # may have been removed
            model = default if default in handles else next(iter(handles)) if len(handles) == 1 else None
        if model is None or model not in handles:
            raise _not_found(model, handles, f"several models for {kind.task} are open and none was named")
        return handles[model]

    def _named(self, name: str) -> Handle[Any]:
        """Return the handle with the given name, of any task."""
        self._check_open()
        if name not in self._handles:
            raise _not_found(name, self._handles)
        return self._handles[name]

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the bridge")


def _check_new(name: str, handles: Mapping[str, Handle[Any]]) -> None:
    if name in handles:
        raise ConfigError("models", expected="different names", actual=f"two models named {name!r}")


def _not_found(name: str | None, handles: Iterable[str], problem: str = "") -> InputError:
    what = problem if name is None else f"no model {name!r}"
    return InputError("model_not_found", what, expected=f"one of: {', '.join(sorted(handles)) or '(none)'}")


def _checked_defaults(defaults: Mapping[Task, str], handles: Mapping[str, Handle[Any]]) -> dict[Task, str]:
    """Return the default models by task.

    :raises ConfigError: if a task is unknown, or if a default is not a model of its task.
    """
    checked: dict[Task, str] = {}
    for key, name in defaults.items():
        if key not in list(Task):
            raise ConfigError("defaults", expected=f"the tasks {', '.join(Task)}", actual=repr(key))
        task = Task(key)
        known = sorted(known for known, handle in handles.items() if handle.task == task)
        if name not in known:
            expected = f"one of: {', '.join(known)}" if known else f"no default, because no model for {task} is open"
            raise ConfigError(f"defaults.{task}", expected=expected, actual=repr(name))
        checked[task] = name
    return checked


def _warn_of_truncation(truncated: Sequence[bool], what: str, limit: int | None, remedy: str | None = None) -> None:
    if count := sum(truncated):
        tokens = "" if limit is None else f" to {limit} tokens"
        hint = "" if remedy is None else f"; {remedy}"
        logger.warning("%d of %d %s were truncated%s%s", count, len(truncated), what, tokens, hint)
