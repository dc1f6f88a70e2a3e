"""`OpenAiMlBridge`: models of a server with OpenAI's protocol behind the calls of `MlBridge`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..artifacts.errors import ConfigError
from ..runtime.answers import Location
from ..runtime.handles.embedder import Embedder
from ..runtime.handles.handle import Handle, checked_options
from ..runtime.handles.recognizer import Recognizer
from ..runtime.handles.summarizer import Summarizer
from ..runtime.options import BridgeOptions, ModelInfo, Task
from .embeddings import RemoteEmbedder
from .entities import RemoteRecognizer
from .models import ApiModel, ChatSettings, chat_settings, check_api_model
from .remote import ServerHost
from .server import OPENAI_HOST, ApiServer, check_local, check_server, is_loopback, read_key
from .summaries import RemoteSummarizer
from .task_bridge import TaskBridge, check_any
from .wire import Wire

KIND = "openai"
Self = TypeVar("Self", bound="OpenAiMlBridge")


class OpenAiMlBridge(TaskBridge):
    """Models of a server, one for each task. Thread-safe; opening sends nothing.

    The Rust crate has a type of the same name with the same calls.
    """

    @classmethod
    def open(
        cls: type[Self],
        *,
        embedding: ApiModel | None = None,
        ner: ApiModel | None = None,
        summarization: ApiModel | None = None,
        server: ApiServer | None = None,
        options: BridgeOptions | None = None,
        name: str = KIND,
    ) -> Self:
        """Check what is given and read the key and the prompts.

        :param name: the name of the backend in answers, metrics and messages.
        :raises ConfigError: if an option is invalid, no model is given, or the key is missing.
        :raises BackendError: with the code `not_local` if `local_only` is set and the server is not on this machine.
        :raises DependencyError: if the extra `openai` is not installed.
        """
        server, options = ApiServer() if server is None else server, checked_options(options)
        check_server(server)
        given = {Task.EMBEDDING: embedding, Task.NER: ner, Task.SUMMARIZATION: summarization}
        models = {task: check_api_model(model, task) for task, model in given.items() if model is not None}
        check_any(models)
        check_local(server.base_url, options.local_only)
        wire = Wire(server, who=name, key=read_key(server.api_key_env))
        timeout = options.timeout if server.timeout is None else server.timeout
        opener = _Opener(ServerHost(wire), server.base_url, name, options.text_limit)
        return cls([opener.handle(task, model, timeout) for task, model in models.items()], wire.close)


class _Opener:
    """Creates the handles of the models of one server."""

    def __init__(self, host: ServerHost, url: str, name: str, text_limit: int) -> None:
        self._host, self._url, self._name, self._text_limit = host, url, name, text_limit
        self._limit_key = "max_completion_tokens" if urlsplit(url).hostname == OPENAI_HOST else "max_tokens"

    def handle(self, task: Task, model: ApiModel, timeout: float | None) -> Handle[Any]:
        """Return the handle of a model."""
        create: Mapping[Task, Callable[[ApiModel, ModelInfo], Handle[Any]]] = {
            Task.EMBEDDING: lambda model, info: Embedder(self._embedder(model, info), timeout=timeout),
            Task.NER: lambda model, info: Recognizer(self._recognizer(model, info), timeout=timeout),
            Task.SUMMARIZATION: lambda model, info: Summarizer(self._summarizer(model, info), timeout=timeout),
        }
        return create[task](model, self._info(task, model))

    def _info(self, task: Task, model: ApiModel) -> ModelInfo:
        location = Location.MACHINE if is_loopback(self._url) else Location.NETWORK
        return ModelInfo(
            model.model, task, KIND, "", model.model, None, self._url, location.value, {}, self._name, location
        )

    def _embedder(self, model: ApiModel, info: ModelInfo) -> RemoteEmbedder:
        if model.dimensions is None:
            raise ConfigError("dimensions", expected="the number of elements of a vector", actual="None")
        return RemoteEmbedder(
            self._host,
            replace(info, name=f"{info.name}@{model.dimensions}", space=model.space),
            context=model.context,
            text_limit=self._text_limit,
            dimensions=model.dimensions,
            sends_dimensions=model.send_dimensions,
        )

    def _recognizer(self, model: ApiModel, info: ModelInfo) -> RemoteRecognizer:
        return RemoteRecognizer(self._host, info, self._settings(Task.NER, model), text_limit=self._text_limit)

    def _summarizer(self, model: ApiModel, info: ModelInfo) -> RemoteSummarizer:
        settings = self._settings(Task.SUMMARIZATION, model)
        return RemoteSummarizer(self._host, info, settings, text_limit=self._text_limit)

    def _settings(self, task: Task, model: ApiModel) -> ChatSettings:
        return chat_settings(
            task,
            context=model.context,
            prompt=model.prompt,
            max_output_tokens=model.max_output_tokens,
            labels=model.labels,
            temperature=model.temperature,
            limit_key=self._limit_key,
        )
