"""`LlamaCppMlBridge`: GGUF files behind the calls of `MlBridge`, each in a server of llama.cpp that is started here."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..artifacts.errors import ConfigError, DependencyError
from ..runtime.answers import Location
from ..runtime.cancellation import check_timeout
from ..runtime.handles.embedder import Embedder
from ..runtime.handles.handle import Handle, checked_options
from ..runtime.handles.recognizer import Recognizer
from ..runtime.handles.summarizer import Summarizer
from ..runtime.options import BridgeOptions, ModelInfo, StrPath, Task, check_limits, check_space
from .embeddings import RemoteEmbedder
from .entities import RemoteRecognizer
from .llama_host import LlamaHost
from .llama_server import LlamaOptions
from .models import ChatSettings, chat_settings
from .summaries import RemoteSummarizer
from .task_bridge import TaskBridge, check_any

KIND = "llama-cpp"
DEFAULT_CONTEXT, DEFAULT_EMBEDDING_CONTEXT = 4096, 512
# Answers are the same every time, and a call does not depend on the ones before it.
_DETERMINISTIC = (("seed", 0), ("cache_prompt", False))
Self = TypeVar("Self", bound="LlamaCppMlBridge")


@dataclass(frozen=True)
class Gguf:
    """A GGUF file.

    `sha256` is the hash that the file must have, in hexadecimal; None accepts any. `context` is the number of tokens
    that the model reads and writes; None is 4,096, for embeddings 512. `threads` None uses all CPUs that the process
    may use. `memory_mb` is the limit of the address space of the server in MiB; None is no limit. The other fields are
    those of `ApiModel`.
    """

    path: StrPath
    sha256: str | None = None
    context: int | None = None
    threads: int | None = None
    memory_mb: int | None = None
    dimensions: int | None = None
    space: str | None = None
    prompt: StrPath | None = None
    max_output_tokens: int | None = None
    labels: Sequence[str] = ()


class LlamaCppMlBridge(TaskBridge):
    """GGUF files, one for each task. Thread-safe; the first call of a model starts its server.

    Summaries are deterministic: the temperature is 0 unless a call asks for another one. The Rust crate has a type of
    the same name with the same calls.
    """

    @classmethod
    def open(
        cls: type[Self],
        *,
        embedding: Gguf | None = None,
        ner: Gguf | None = None,
        summarization: Gguf | None = None,
        command: Sequence[str] | None = None,
        start_timeout: float = 60.0,
        read_timeout: float = 60.0,
        options: BridgeOptions | None = None,
        name: str = KIND,
    ) -> Self:
        """Check what is given, and the hashes of the files.

        :param command: the program of the server, such as `["llama-server"]`; None is xllamacpp's.
        :param start_timeout: the seconds in which a server must give its first answer.
        :param read_timeout: the seconds in which a request must bring the next bytes.
        :param name: the name of the backend in answers, metrics and messages.
        :raises ConfigError: if an option is invalid, or no model is given.
        :raises OnnxMlBridgeError: with the code `io` for a file that cannot be read.
        :raises ArtifactError: with the code `file_hash` for a file with another hash.
        :raises DependencyError: if the extra `llama-cpp` is not installed.
        """
        options = checked_options(options)
        given = {Task.EMBEDDING: embedding, Task.NER: ner, Task.SUMMARIZATION: summarization}
        models = {task: _checked(model, task) for task, model in given.items() if model is not None}
        check_any(models)
        check_timeout(start_timeout, "start_timeout")
        check_timeout(read_timeout, "read_timeout")
        opener = _Opener(_checked_command(command), start_timeout, read_timeout, name, options)
        return cls([opener.handle(task, model) for task, model in models.items()], opener.close)


class _Opener:
    """Creates the handles of the models; equal files of language models share a server."""

    def __init__(
        self,
        command: tuple[str, ...] | None,
        start_timeout: float,
        read_timeout: float,
        name: str,
        options: BridgeOptions,
    ) -> None:
        self._command, self._start_timeout, self._read_timeout = command, start_timeout, read_timeout
        self._name, self._options = name, options
        self._hosts: dict[LlamaOptions, LlamaHost] = {}

    def handle(self, task: Task, model: Gguf) -> Handle[Any]:
        """Return the handle of a model."""
        create: Mapping[Task, Callable[[Gguf], Handle[Any]]] = {
            Task.EMBEDDING: self._embedder,
            Task.NER: self._recognizer,
            Task.SUMMARIZATION: self._summarizer,
        }
        return create[task](model)

    def close(self) -> None:
        """End all servers."""
        for host in self._hosts.values():
            host.close()

    def _embedder(self, model: Gguf) -> Embedder:
        context = model.context or DEFAULT_EMBEDDING_CONTEXT
        host, info = self._host(model, context, is_embedding=True), self._info(Task.EMBEDDING, model)
        limit, dimensions = self._options.text_limit, model.dimensions
        embedder = RemoteEmbedder(host, info, context=context, text_limit=limit, dimensions=dimensions)
        return Embedder(embedder, timeout=self._options.timeout)

    def _recognizer(self, model: Gguf) -> Recognizer:
        host, settings = self._chat(Task.NER, model)
        info, limit = self._info(Task.NER, model), self._options.text_limit
        recognizer = RemoteRecognizer(host, info, settings, text_limit=limit, count=host.count)
        return Recognizer(recognizer, timeout=self._options.timeout)

    def _summarizer(self, model: Gguf) -> Summarizer:
        host, settings = self._chat(Task.SUMMARIZATION, model)
        info, limit = self._info(Task.SUMMARIZATION, model), self._options.text_limit
        summarizer = RemoteSummarizer(host, info, settings, text_limit=limit, count=host.count)
        return Summarizer(summarizer, timeout=self._options.timeout)

    def _chat(self, task: Task, model: Gguf) -> tuple[LlamaHost, ChatSettings]:
        """Return the host and the settings of a language model."""
        context = model.context or DEFAULT_CONTEXT
        settings = chat_settings(
            task,
            context=context,
            prompt=model.prompt,
            max_output_tokens=model.max_output_tokens,
            labels=model.labels,
            temperature=0.0,
            extra=_DETERMINISTIC,
        )
        return self._host(model, context, is_embedding=False), settings

    def _host(self, model: Gguf, context: int, *, is_embedding: bool) -> LlamaHost:
        options = LlamaOptions(
            Path(model.path).absolute(),
            model.sha256,
            context,
            model.threads,
            model.memory_mb,
            is_embedding,
            self._command,
            self._start_timeout,
            self._read_timeout,
        )
        if options not in self._hosts:
            self._hosts[options] = LlamaHost(options, self._name)
        return self._hosts[options]

    def _info(self, task: Task, model: Gguf) -> ModelInfo:
        path = Path(model.path).absolute()
        name = path.stem if model.dimensions is None else f"{path.stem}@{model.dimensions}"
        machine = Location.MACHINE
        return ModelInfo(
            name, task, KIND, "", path.name, model.sha256, str(path), "cpu", {}, self._name, machine, model.space
        )


def _checked(model: object, task: Task) -> Gguf:
    """Return a file whose fields are valid.

    :raises ConfigError: if one is not.
    """
    if not isinstance(model, Gguf):
        raise ConfigError(task, expected="a Gguf", actual=type(model).__name__)
    if not isinstance(model.path, (str, os.PathLike)) or not os.fspath(model.path):
        raise ConfigError("path", expected="the path of a GGUF file", actual=repr(model.path))
    if model.sha256 is not None and not (isinstance(model.sha256, str) and re.fullmatch("[0-9a-f]{64}", model.sha256)):
        raise ConfigError("sha256", expected="64 hexadecimal digits in lower case", actual=repr(model.sha256))
    names = ("context", "threads", "memory_mb", "dimensions", "max_output_tokens")
    check_limits(**{name: getattr(model, name) for name in names})
    check_space(model.space)
    return model


def _checked_command(command: object) -> tuple[str, ...] | None:
    """Return the command; None for the child of this package, whose library must be there.

    :raises ConfigError: if it is not a list of strings.
    :raises DependencyError: if the library is not installed.
    """
    if command is None:
        if importlib.util.find_spec("xllamacpp") is None:
            hint = "Install it: pip install 'onnx-ml-bridge[llama-cpp]', or set `command` to a llama-server."
            raise DependencyError("GGUF files require the library xllamacpp", hint=hint)
        return None
    is_list = isinstance(command, Sequence) and not isinstance(command, str) and len(command) > 0
    if not is_list or any(not isinstance(each, str) or not each for each in command):  # type: ignore[attr-defined]
        raise ConfigError("command", expected="a program and its arguments", actual=repr(command))
    return tuple(command)  # type: ignore[arg-type]
