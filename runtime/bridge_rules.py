"""The rules between the keys of a bridge.toml, which its schema cannot express or would report with the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The tasks of which a backend needs one
_BACKEND_TASKS = ("embedding", "ner", "summarization")


def rule_problems(data: Mapping[str, Any]) -> list[str]:
    """Return the violations of a file, whose values may be of any type."""
    bridge = _table(data.get("bridge"))
    models, backends = _table(data.get("models")), _table(data.get("backend"))
    defaults, tasks = _table(bridge.get("defaults")), _table(data.get("tasks"))
    problems: list[str] = []
    if "models" not in data and "backend" not in data:
        problems.append("the file: has neither a [models.NAME] nor a [backend.NAME]")
    for name, table in backends.items():
        if isinstance(table, dict) and not any(task in table for task in _BACKEND_TASKS):
            problems.append(f"backend.{name}: has none of {', '.join(_BACKEND_TASKS)}")
    problems += [f"backend.{name}: a model has this name too" for name in backends if name in models]
    problems += [f"tasks.{task}: bridge.defaults has this task too" for task in tasks if task in defaults]
    names = _Names(models, backends)
    for task, name in defaults.items():
        problems += names.problems(f"bridge.defaults.{task}", task, name)
    for task, chain in tasks.items():
        members = chain if isinstance(chain, list) else []
        for name in members:
            problems += names.problems(f"tasks.{task}", task, name)
        if task == "embedding" and len(members) > 1:
            problems += names.space_problems(members)
    return problems


class _Names:
    """The models and the backends of a file, which share their names."""

    def __init__(self, models: Mapping[str, Any], backends: Mapping[str, Any]) -> None:
        self._models, self._backends = models, backends

    def problems(self, key: str, task: str, name: object) -> Iterator[str]:
        """Yield what is wrong with a name that a key has."""
        if not isinstance(name, str):
            return
        if name not in self._models and name not in self._backends:
            known = ", ".join([*self._models, *self._backends]) or "(none)"
            yield f"{key}: {name!r} is not one of the models and backends {known}"
        elif name not in self._models and task not in _table(self._backends[name]):
            yield f"{key}: the backend {name!r} has no {task}"

    def space_problems(self, members: list[Any]) -> Iterator[str]:
        """Yield whether the members of a chain of embeddings do not declare one space."""
        spaces = [self._space(name) for name in members if isinstance(name, str)]
        if None in spaces or len(set(map(str, spaces))) > 1:
            yield f"tasks.embedding: the members declare the spaces {', '.join(map(str, spaces))}, not the same one"

    def _space(self, name: str) -> object:
        if name in self._models:
            return _table(self._models[name]).get("space")
        return _table(_table(self._backends.get(name)).get("embedding")).get("space")


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
