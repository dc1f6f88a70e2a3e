"""A bridge with one model for each task, which calls need not name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from ..artifacts.errors import ConfigError, InputError, TaskNotLoadedError
from ..runtime.handle_bridge import HandleBridge
from ..runtime.handles.handle import Handle
from ..runtime.options import Task

AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])


class TaskBridge(HandleBridge):
    """A bridge with at most one model for each task; calls select it by its name or that of its backend, or by none."""

    def __init__(self, handles: Iterable[Handle[Any]], on_close: Callable[[], None] | None = None) -> None:
        """Wrap models that are open, of different tasks.

        :param on_close: called when all calls have ended.
        """
        self._on_close = on_close
        self._handles: dict[Task, Handle[Any]] = {handle.task: handle for handle in handles}

    def _all_handles(self) -> Iterable[Handle[Any]]:
        return self._handles.values()

    def _handle(self, kind: type[AnyHandle], model: str | None) -> AnyHandle:
        handle = self._handles.get(kind.task)
        if not isinstance(handle, kind):
            raise TaskNotLoadedError(kind.task)
        names = (handle.info.name, handle.info.backend)
        if model is not None and model not in names:
            raise InputError("model_not_found", f"no model {model!r}", expected=f"one of: {', '.join(names)}")
        return handle

    def close(self) -> None:
        """Close all models after their running calls have ended."""
        handles, self._handles = self._handles, {}
        for handle in handles.values():
            handle.close()
        if self._on_close is not None:
            self._on_close()


def check_any(models: Collection[object]) -> None:
    """Raise `ConfigError` if a bridge is opened without a model."""
    if not models:
        raise ConfigError("models", expected="a model for embedding, ner or summarization", actual="none")
