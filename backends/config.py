"""Opens the backends and the chains of a bridge.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..artifacts.errors import ConfigError
from ..runtime.bridge import OnnxMlBridge
from ..runtime.bridge_config import BridgeConfig
from ..runtime.interface import MlBridge
from ..runtime.options import BridgeOptions, Task
from .chain import Member
from .composite import CompositeMlBridge
from .task_bridge import TaskBridge

_TASKS = (Task.EMBEDDING, Task.NER, Task.SUMMARIZATION)
# The keys of bridge.toml in milliseconds, and the options in seconds
_TIMES = {f"{name}_ms": name for name in ("connect_timeout", "read_timeout", "max_backoff", "start_timeout")}


def open_composite(config: BridgeConfig) -> CompositeMlBridge:
    """Open the models and the backends of a file, each under its name, and chain them.

    :raises ConfigError: if a model in a chain is for another task.
    :raises OnnxMlBridgeError: the error of the first model or backend that cannot be opened.
    """
    with ExitStack() as opened:
        bridges: list[MlBridge] = []
        members: list[Member] = []
        if config.models:
            onnx = opened.enter_context(OnnxMlBridge.open(*config.models, options=config.options))
            bridges.append(onnx)
            members += [Member(handle.info.name, handle) for handle in onnx._all_handles()]
        for name, table in sorted(config.backends.items()):
            backend = opened.enter_context(_open_backend(name, table, config))
            bridges.append(backend)
            members += [Member(name, handle) for handle in backend._all_handles()]
        chains = _chains(config, members)
        bridge = CompositeMlBridge._of_members(chains, members, bridges, local_only=config.options.local_only)
        opened.pop_all()  # the bridge closes them
    return bridge


def _chains(config: BridgeConfig, members: Sequence[Member]) -> dict[Task, list[Member]]:
    """Return the members of every task that has a chain, a default model, or only one model."""
    chains: dict[Task, list[Member]] = {}
    for task in Task:
        own = {member.name: member for member in members if member.handle.task == task}
        names = config.tasks.get(task) or ((config.defaults[task],) if task in config.defaults else tuple(own))
        if missing := [name for name in names if name not in own]:
            raise ConfigError(f"tasks.{task}", expected=f"models for {task}", actual=", ".join(missing))
        if task in config.tasks or task in config.defaults or len(own) == 1:
            chains[task] = [own[name] for name in names]
    return chains


def _open_backend(name: str, table: Mapping[str, Any], config: BridgeConfig) -> TaskBridge:
    timeout = table["timeout_ms"] / 1000 if "timeout_ms" in table else config.options.timeout
    options = replace(config.options, timeout=timeout)
    open_kind = _open_openai if table["kind"] == "openai" else _open_llama_cpp
    return open_kind(name, table, config.folder, options)


def _open_openai(name: str, table: Mapping[str, Any], folder: Path, options: BridgeOptions) -> TaskBridge:
    from .models import ApiModel
    from .openai import OpenAiMlBridge
    from .server import ApiServer

    models: dict[str, Any] = {}
    for task in _TASKS:
        if task in table:
            fields = _model_fields(table[task], folder)
            if "temperature" in fields:
                fields["temperature"] = float(fields["temperature"])
            models[task] = ApiModel(**fields)
    return OpenAiMlBridge.open(**models, server=ApiServer(**_settings(table)), options=options, name=name)


def _open_llama_cpp(name: str, table: Mapping[str, Any], folder: Path, options: BridgeOptions) -> TaskBridge:
    from .llama_cpp import Gguf, LlamaCppMlBridge

    models: dict[str, Any] = {}
    for task in _TASKS:
        if task in table:
            fields = _model_fields(table[task], folder)
            models[task] = Gguf(**{**fields, "path": folder / fields["path"]})
    return LlamaCppMlBridge.open(**models, **_settings(table), options=options, name=name)


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a backend, times in seconds; those of its tasks and its own time limit are left out."""
    left_out = ("kind", "timeout_ms", *_TASKS)
    return {
        _TIMES.get(key, key): value / 1000 if key in _TIMES else value
        for key, value in table.items()
        if key not in left_out
    }


def _model_fields(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields of a model; the path of a prompt is relative to the file."""
    fields = dict(table)
    if "prompt" in fields:
        fields["prompt"] = folder / fields["prompt"]
    return fields
