"""Read bridge.toml: the models and backends of a bridge, with their names, time limits, defaults and chains."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema_rs

from ..artifacts.errors import ConfigError, OnnxMlBridgeError
from ..artifacts.schema import bridge_schema
from ..artifacts.store.locate import is_name_in_store
from .bridge import OnnxMlBridge
from .bridge_rules import rule_problems
from .interface import MlBridge
from .options import BridgeOptions, Model, StrPath, Task

# Keys of the table [bridge] whose values are not those of `BridgeOptions`.
_CONVERTED = ("defaults", "store", "timeout_ms", "trusted_keys")


@dataclass(frozen=True)
class BridgeConfig:
    """The content of a bridge.toml; the models have absolute paths and the order of their names.

    `backends` has the tables of the backends by name, `tasks` the names of the members of chains; relative paths in
    tables are relative to `folder`.
    """

    models: tuple[Model, ...]
    defaults: dict[Task, str]
    options: BridgeOptions
    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tasks: Mapping[Task, tuple[str, ...]] = field(default_factory=dict)
    folder: Path = Path()


def open_bridge(config: StrPath, *, local_only: bool = False) -> MlBridge:
    """Open the models and the backends that a bridge.toml lists.

    :param config: the path of the file; relative paths in it are relative to its folder.
    :param local_only: refuse what would leave this machine, whatever the file says.
    :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
    :raises ConfigError: naming all problems of the file.
    :raises ArtifactError: with the code of the first check that an artifact fails.
    :raises BackendError: with the code `not_local` if `local_only` is set and something is not on this machine.
    """
    read = read_bridge_config(config)
    if local_only:
        read = replace(read, options=replace(read.options, local_only=True))
    if read.backends or read.tasks:
        from ..backends.config import open_composite

        return open_composite(read)
    return OnnxMlBridge.open(*read.models, defaults=read.defaults, options=read.options)


def read_bridge_config(config: StrPath) -> BridgeConfig:
    """Read a bridge.toml without opening its models; see `open_bridge`."""
    if not isinstance(config, (str, os.PathLike)):
        raise ConfigError("config", expected="the path of a bridge.toml", actual=repr(config))
    path = Path(config)
    data = _parsed(path)
    if problems := _problems(data):
        raise ConfigError(str(path), expected="a bridge.toml without problems", actual="; ".join(problems))
    bridge = data.get("bridge", {})
    options = BridgeOptions(
        **{key: value for key, value in bridge.items() if key not in _CONVERTED},
        timeout=_seconds(bridge),
        store=_store(bridge, path),
        trusted_keys=tuple(path.absolute().parent / key for key in bridge.get("trusted_keys", ())),
    )
    models = [_model(name, table, path) for name, table in sorted(data.get("models", {}).items())]
    defaults = {Task(task): name for task, name in bridge.get("defaults", {}).items()}
    tasks = {Task(task): tuple(chain) for task, chain in data.get("tasks", {}).items()}
    return BridgeConfig(tuple(models), defaults, options, data.get("backend", {}), tasks, path.absolute().parent)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a NUL character raises ValueError
        raise OnnxMlBridgeError("io", f"{path}: {error}") from error
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: arrays or tables that are nested too deeply
        raise ConfigError(str(path), expected="TOML in UTF-8", actual=str(error)) from error


def _problems(data: dict[str, Any]) -> list[str]:
    """Return the violations of the schema and of the rules between keys."""
    problems = [
        f"{'.'.join(str(key) for key in error.instance_path) or 'the file'}: {error.message}"
        for error in _validator().iter_errors(_as_json(data))
    ]
    return problems + rule_problems(data)


def _as_json(value: Any) -> Any:
    """Return a value of TOML as a value of JSON; a float or a date becomes an object, which no key accepts.

    JSON has no dates, and for JSON Schema 1.0 is an integer.
    """
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return value if isinstance(value, (str, bool, int)) else {type(value).__name__: str(value)}


@functools.cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(bridge_schema())


def _model(name: str, table: dict[str, Any], path: Path) -> Model:
    name_or_folder = table["path"] if is_name_in_store(table["path"]) else path.absolute().parent / table["path"]
    chosen = {key: value for key, value in table.items() if key not in ("path", "timeout_ms", "idle_unload_s")}
    return Model(name_or_folder, name, timeout=_seconds(table), idle_unload=table.get("idle_unload_s"), **chosen)


def _store(bridge: dict[str, Any], path: Path) -> str | Path | None:
    """Return the address of the store; a folder is relative to that of the file."""
    address: str | None = bridge.get("store")
    return address if address is None or "://" in address else path.absolute().parent / address


def _seconds(table: dict[str, Any]) -> float | None:
    return table["timeout_ms"] / 1000 if "timeout_ms" in table else None
