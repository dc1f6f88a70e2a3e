"""Finds references to code of the model (`auto_map`) in the configuration files of a checkpoint.

The files are read as data before any library loads the model, because a library may import the code that they name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts.errors import BuildError
from .ported_code import ignored_settings, is_ported

_KEY = "auto_map"
# Files with one key per token: there, `auto_map` is a token
_VOCABULARIES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class CodeReference:
    """A reference to code: the file, the keys that lead to `auto_map`, its value, and whether transformers has it.

    `ignored` has the settings for which transformers' port of the code is not the same, each as `name = value`.
    """

    file: str
    keys: tuple[str, ...]
    value: str
    is_ported: bool
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return `FILE (KEY.auto_map: VALUE)`, with the settings that transformers' port ignores."""
        ignored = f"; transformers' class ignores {', '.join(self.ignored)}" if self.ignored else ""
        return f"{self.file} ({'.'.join((*self.keys, _KEY))}: {self.value}{ignored})"


def find_code(folder: Path) -> list[CodeReference]:
    """Return all references to code in the JSON files of a folder, ordered by file.

    :raises BuildError: with the code `source` for a configuration file that is not valid JSON.
    """
    references: list[CodeReference] = []
    for path in sorted(folder.rglob("*.json")):
        if path.name not in _VOCABULARIES and not path.name.endswith(".index.json"):
            references += _references(path.relative_to(folder).as_posix(), _read(path, folder))
    return references


def without_code(config: Any) -> Any:
    """Return a copy of JSON values without the keys `auto_map`."""
    if isinstance(config, dict):
        return {key: without_code(value) for key, value in config.items() if key != _KEY}
    return [without_code(value) for value in config] if isinstance(config, list) else config


def _references(file: str, config: Any) -> Iterator[CodeReference]:
    for keys, parent in _objects(config):
        if parent.get(_KEY) and not isinstance(parent[_KEY], int):  # a number is the id of a token
            has_port = not keys and Path(file).name == "config.json" and is_ported(parent)
            ignored = tuple(ignored_settings(parent)) if has_port else ()
            value = json.dumps(parent[_KEY], sort_keys=True)[:300]
            yield CodeReference(file, keys, value, has_port and not ignored, ignored)


def _objects(config: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return every object of a JSON value with the keys that lead to it."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), config)]
    while pending:
        keys, value = pending.pop()
        if isinstance(value, dict):
            yield keys, value
            pending += [((*keys, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*keys, str(index)), item) for index, item in enumerate(value)]


def _read(path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise BuildError("source", f"{path.relative_to(folder)} is not valid JSON: {error}") from error
