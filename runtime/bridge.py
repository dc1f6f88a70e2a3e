"""`OnnxMlBridge`: any number of ONNX models behind the calls of `MlBridge`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..artifacts.errors import ClosedError, ConfigError, InputError, TaskNotLoadedError
from .budget import Budget
from .forking import call_after_fork
from .handle_bridge import HandleBridge
from .handles.handle import Handle, checked_options, open_handle
from .options import BridgeOptions, Model, ModelInfo, StrPath, Task, as_model

logger = logging.getLogger(__name__)
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])
Self = TypeVar("Self", bound="OnnxMlBridge")


class OnnxMlBridge(HandleBridge):
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

    def close(self) -> None:
        """Close all models after their running calls have ended.

        Later calls of the bridge raise `TaskNotLoadedError`, later calls of its handles `ClosedError`.
        """
        with self._changing:
            handles, self._handles = self._handles, {}
            self._is_closed = True
        for handle in handles.values():
            handle.close()

    def _all_handles(self) -> Iterable[Handle[Any]]:
        return self._handles.values()

    def _handle(self, kind: type[AnyHandle], model: str | None) -> AnyHandle:
        """Return the handle with the given name, or the default of the task."""
        handles = {name: handle for name, handle in self._handles.items() if isinstance(handle, kind)}
        if not handles:
            raise TaskNotLoadedError(kind.task)
        if model is None:
            default = self._defaults.get(kind.task)  # may have been removed
            model = default if default in handles else next(iter(handles)) if len(handles) == 1 else None
        if not isinstance(model, str) or model not in handles:
            raise _not_found(model, handles, f"several models for {kind.task} are open and none was named")
        return handles[model]

    def _named(self, name: str) -> Handle[Any]:
        """Return the handle with the given name, of any task."""
        self._check_open()
        if not isinstance(name, str) or name not in self._handles:
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
    if not isinstance(defaults, Mapping):
        raise ConfigError("defaults", expected="names of models by task", actual=repr(defaults))
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
