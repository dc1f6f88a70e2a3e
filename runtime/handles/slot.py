"""What a handle refers to: a model under a name, whose version a reload replaces."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from ...artifacts.checks import check_changed_files
from ...artifacts.errors import ArtifactError, ClosedError, ConfigError, OnnxMlBridgeError
from ...artifacts.store.last_use import note_use
from ..budget import Budget
from ..cancellation import Watch, check_timeout
from ..forking import call_after_fork
from ..life import LIFE
from ..loading import OpenArtifact
from ..meter import Meter
from ..options import Model, ModelInfo, StrPath
from ..residency import Conditions, Loadable, LoadState, Resident
from ..session import import_onnxruntime
from ..spans import call_span
from ..status import HasStatus, ModelState
from ..verify import verify_variant
from .request import Request, counted_errors


class Described(Loadable, Protocol):
    """A model that can be loaded and describes itself."""

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""


AnyBackend = TypeVar("AnyBackend", bound=Described)
_STATES = {
    LoadState.UNLOADED: ModelState.UNLOADED,
    LoadState.LOADING: ModelState.LOADING,
    LoadState.READY: ModelState.READY,
    LoadState.UNLOADING: ModelState.UNLOADED,
}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: the artifact, the model that was opened, and how another version of it is opened."""

    opened: OpenArtifact[Any]
    model: Model
    reopen: Callable[[Model], Slot[Any]]
    budget: Budget

    def conditions(self) -> Conditions:
        """Return what applies to the loads of the model."""
        artifact = self.opened.artifact
        size, note = artifact.manifest.variant_bytes(self.opened.variant), partial(note_use, artifact.root)
        return Conditions(partial(_prepare, self.opened), size, self.model.idle_unload, self.budget, note)


@dataclass(frozen=True)
class Generation(Generic[AnyBackend]):
    """One version of a model; `origin` is None for a model that was not opened from a folder."""

    backend: AnyBackend
    resident: Resident
    origin: Origin | None


class Slot(Generic[AnyBackend]):
    """A model under a name, until it is closed. Thread-safe."""

    def __init__(self, backend: AnyBackend, name: str | None) -> None:
        """Wrap a model that is open.

        :param name: the name of the model; None uses the name in its manifest.
        """
        info = backend.info
        self.name = info.name if name is None else name
        self._generation: Generation[AnyBackend] | None = None
        # All generations whose calls may still run
        self._residents: weakref.WeakSet[Resident] = weakref.WeakSet()
        self._info = info
        self._set(Generation(backend, Resident(backend, info.name, info.version or info.backend), None))
        self._after_fork()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock of reloads in a child process."""
        self._reloading = threading.Lock()

    def adopt(self, origin: Origin) -> None:
        """Set where the model comes from, before its first call."""
        backend, info = self.backend, self._info
        self._set(Generation(backend, Resident(backend, info.name, info.version, origin.conditions()), origin))

    @property
    def info(self) -> ModelInfo:
        """The description of the model; after `close`, that of its last version."""
        generation = self._generation
        info = self._info if generation is None else generation.backend.info
        origin = None if generation is None else generation.origin
        return replace(info, name=self.name, space=info.space if origin is None else origin.model.space)

    @property
    def backend(self) -> AnyBackend:
        """The version of the model that answers new calls.

        :raises ClosedError: if the model was closed.
        """
        return self._current().backend

    def span(self) -> AbstractContextManager[Any]:
        """Return the span of a call, for traces."""
        return call_span(self.name, self._info.task)

    @property
    def meter(self) -> Meter:
        """The meter of the version that answers new calls.

        :raises ClosedError: if the model was closed.
        """
        return self._current().resident.meter

    @property
    def state(self) -> ModelState:
        """Whether the model is loaded, and whether its last load failed."""
        generation = self._generation
        if generation is None:
            return ModelState.CLOSED
        if generation.resident.state is LoadState.UNLOADED and self.load_error is not None:
            return ModelState.FAILED
        return _STATES[generation.resident.state]

    @property
    def load_error(self) -> str | None:
        """The code of the last load if it failed."""
        failure = None if self._generation is None else self._generation.resident.failure
        return failure.code if isinstance(failure, OnnxMlBridgeError) else None if failure is None else "internal"

    @property
    def lane(self) -> HasStatus | None:
        """The lane of the model; None for a closed model, and for a backend that schedules its runs itself."""
        lane: HasStatus | None = None if self._generation is None else getattr(self._generation.backend, "lane", None)
        return lane

    @contextmanager
    def running(self, watch: Watch | None = None, request: Request | None = None) -> Iterator[AnyBackend]:
        """Run a call: load the model if necessary, and keep it loaded until the context ends.

        :param watch: can stop the call while it waits for the load or for memory.
        :param request: counts the call; its time starts when the model is loaded.
        :returns: the version of the model that answers the call, from `__enter__`.
        :raises ClosedError: if the model was closed.
        :raises OnnxMlBridgeError: if the model cannot be loaded.
        """
        while True:
            generation = self._current()
            if (call := generation.resident.enter(watch)) is not None:
                break
        if request is not None:
            request.start(generation.resident.meter)
        try:
            yield generation.backend
        finally:
            generation.resident.leave(call)

    def load(self) -> None:
        """Load the graphs now."""
        resident = self._current().resident
        with counted_errors(resident.meter):
            resident.load()

    def unload(self) -> None:
        """Free the graphs as soon as no call uses them."""
        if (generation := self._generation) is not None:
            generation.resident.unload_when_idle()

    def resident_bytes(self) -> int:
        """Return the memory of the graphs in bytes, as measured when they were loaded; 0 if they are not loaded."""
        generation = self._generation
        return generation.resident.size if generation is not None and generation.resident.is_loaded else 0

    def reload(self, path: StrPath | None, expect_identity: str | None, timeout: float | None) -> ModelInfo:
        """Replace the model by another version; see `Handle.reload`."""
        check_timeout(timeout)
        with self._reloading:
            old = self._current()
            if old.origin is None:
                raise ConfigError("reload", expected="a model that was opened from a folder", actual=self.name)
            model = old.origin.model
            identity = model.identity if expect_identity is None else expect_identity
            new = old.origin.reopen(replace(model, path=model.path if path is None else path, identity=identity))
            generation = self._verified(new, timeout)
            if old.resident.is_loaded:
                generation.resident.load()
            return self._swap(generation)

    def _verified(self, new: Slot[Any], timeout: float | None) -> Generation[Any]:
        """Return the generation of a new version of the model after its golden cases were replayed."""
        generation = new._current()
        assert generation.origin is not None
        opened = generation.origin.opened
        if new.info.task != self._info.task:
            what = f"{opened.artifact.root} is for another task"
            raise ArtifactError("variant", what, expected=self._info.task, actual=new.info.task)
        verify_variant(replace(opened.artifact, records={}), opened.variant, opened.devices, timeout)
        return generation

    def _swap(self, generation: Generation[AnyBackend]) -> ModelInfo:
        with LIFE.changed:
            old = self._generation
            if old is not None:
                self._set(generation)
        retired = generation if old is None else old
        retired.resident.retire()
        if old is None:
            raise ClosedError(self.name)
        return self.info

    def close(self) -> None:
        """Refuse new calls, wait until the running calls have ended, and free the model."""
        with LIFE.changed:
            generation, self._generation = self._generation, None
        if generation is not None:
            generation.resident.retire()
        for resident in list(self._residents):
            resident.wait_for_calls()

    def _current(self) -> Generation[AnyBackend]:
        generation = self._generation
        if generation is None:
            raise ClosedError(self.name)
        return generation

    def _set(self, generation: Generation[AnyBackend]) -> None:
        self._generation, self._info = generation, generation.backend.info
        self._residents.add(generation.resident)


def _prepare(opened: OpenArtifact[Any]) -> None:
    """Check that the graphs can be loaded: ONNX Runtime is installed, and the files are those that were checked."""
    import_onnxruntime()
    check_changed_files(opened.artifact)
