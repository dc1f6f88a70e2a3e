"""Read bridge.toml: the models of a bridge, with their names, variants, time limits and defaults."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

from ..artifacts.errors import ConfigError, OnnxMlBridgeError
from ..artifacts.schema import bridge_schema
from ..artifacts.store.locate import is_name_in_store
from .bridge import OnnxMlBridge
from .interface import MlBridge
from .options import BridgeOptions, Model, StrPath, Task

# Keys of the table [bridge] whose values are not those of `BridgeOptions`.
_CONVERTED = ("defaults", "store", "timeout_ms", "trusted_keys")


@dataclass(frozen=True)
class BridgeConfig:
    """The content of a bridge.toml; the models have absolute paths and the order of their names."""

    models: tuple[Model, ...]
    defaults: dict[Task, str]
    options: BridgeOptions


def open_bridge(config: StrPath) -> MlBridge:
    """Open the models that a bridge.toml lists.

    :param config: the path of the file; relative paths in it are relative to its folder.
    :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
    :raises ConfigError: naming all problems of the file.
    :raises ArtifactError: with the code of the first check that an artifact fails.
    """
    read = read_bridge_config(config)
    return OnnxMlBridge.open(*read.models, defaults=read.defaults, options=read.options)


def read_bridge_config(config: StrPath) -> BridgeConfig:
    """Read a bridge.toml without opening its models; see `open_bridge`."""
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
    models = [_model(name, table, path) for name, table in sorted(data["models"].items())]
    defaults = {Task(task): name for task, name in bridge.get("defaults", {}).items()}
    return BridgeConfig(tuple(models), defaults, options)


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
    bridge, models = data.get("bridge"), data.get("models")
    defaults = bridge.get("defaults") if isinstance(bridge, dict) else None
    if isinstance(defaults, dict) and isinstance(models, dict):
        problems += [
            f"bridge.defaults.{task}: {name!r} is not one of the models {', '.join(models) or '(none)'}"
            for task, name in defaults.items()
            if isinstance(name, str) and name not in models
        ]
    return problems


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
