"""What the handles of all tasks share: their models, and how calls run, stop and fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from ...artifacts.errors import (
    ArtifactError,
    ConfigError,
    InferenceError,
    InputError,
    OnnxMlBridgeError,
    OverloadedError,
    StoppedError,
)
from ..budget import Budget
from ..cancellation import CancelToken, Watch, check_timeout
from ..loading import open_model
from ..options import BridgeOptions, Model, ModelInfo, StrPath, Task, as_model, check_bridge_options
from ..status import Health, ModelState, ModelStatus, model_status
from .backend import Backend, BatchBackend, CallOptions, Checked, Options, Probed
from .request import Request
from .slot import Origin, Slot

Self = TypeVar("Self", bound="Handle[Any]")


def _tokens(result: Any) -> int:
    """Return the number of tokens of a result for metrics; 0 if a server did not count."""
    return result.tokens or 0


AnyBackend = TypeVar("AnyBackend", bound=Backend)


class Handle(Generic[AnyBackend]):
    """A handle of an open model. Thread-safe."""

    task: Task

    def __init__(self, backend: AnyBackend, *, name: str | None = None, timeout: float | None = None) -> None:
        """Wrap a model that is already open. Applications call `open` instead.

        :param name: the name of the model; None uses the name in its manifest.
        :param timeout: the time limit in seconds of calls that pass none; None is no limit.
        """
        check_timeout(timeout)
        self._slot = Slot(backend, name)
        self._timeout = timeout

    @classmethod
    def open(cls: type[Self], model: StrPath | Model, options: BridgeOptions | None = None) -> Self:
        """Check an artifact and create its model. The first call or `warm_up` loads the graphs.

        :raises ArtifactError: with the code of the first check that the artifact fails; `variant` for an artifact of
            another task.
        :raises ConfigError: if a field of the model or an option is invalid.
        """
        handle = open_handle(model, options)
        if not isinstance(handle, cls):
            path = as_model(model).path
            raise ArtifactError(
                "variant", f"{path} is for another task", expected=cls.task.manifest_name, actual=handle.info.task
            )
        if as_model(model).preload:
            handle.warm_up()
        return handle

    @property
    def info(self) -> ModelInfo:
        """The name, task, version and variant of the model."""
        return self._slot.info

    @property
    def backend(self) -> AnyBackend:
        """The model that answers new calls.

        :raises ClosedError: if the handle was closed.
        """
        return self._slot.backend

    def warm_up(self) -> None:
        """Load the graphs now instead of in the first call.

        :raises DependencyError: if ONNX Runtime is not installed.
        :raises ArtifactError: with the code `graph` if ONNX Runtime cannot load a graph; `file_hash` or `io` if a file
            was replaced or removed after the model was opened.
        :raises ClosedError: if the handle was closed.
        """
        self._slot.load()

    def unload(self) -> None:
        """Free the graphs as soon as no call uses them; the next call loads them again."""
        self._slot.unload()

    def resident_bytes(self) -> int:
        """Return the memory of the graphs in bytes, as measured when they were loaded; 0 if they are not loaded.

        For a GGUF file it is the memory of its server, as measured when that had started.
        """
        return self._slot.resident_bytes()

    def reload(
        self, path: StrPath | None = None, *, expect_identity: str | None = None, timeout: float | None = None
    ) -> ModelInfo:
        """Replace the model by another version.

        The new version is checked first: every hash, and the golden cases in a child process. Running calls end with
        the old version. After an error, the old version answers calls as before.

        :param path: the folder of the new version, or its name in a store; None is the folder of the old one, whose
            files were replaced, or the version that its name in a store means now.
        :param expect_identity: the identity that the new version, and that of later reloads, must have; None is the
            last one that was given here or by `Model.identity`.
        :param timeout: the maximum time for the golden cases in seconds; None means no limit.
        :returns: the description of the new version.
        :raises ArtifactError: with the code of the first check that fails; `identity` for another artifact; `variant`
            for another task.
        :raises StoppedError: if the golden cases exceed the timeout.
        :raises ClosedError: if the handle was closed.
        """
        return self._slot.reload(path, expect_identity, timeout)

    def close(self) -> None:
        """Refuse new calls, wait until the running calls have ended, and free the model."""
        self._slot.close()

    def __enter__(self: Self) -> Self:
        """Return the handle."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handle."""
        self.close()

    def status(self) -> ModelStatus:
        """Return the state of the model, its calls and its last success. Runs nothing and never waits for traffic."""
        slot = self._slot
        return model_status(slot.name, slot.state, slot.resident_bytes(), slot.lane, slot.load_error)

    def health(self) -> Health:
        """Return whether the model works, without a run; the server of a model that has one is asked."""
        status, info = self.status(), self.info
        state, error = status.state, status.error
        if state is not ModelState.CLOSED and isinstance(self.backend, Probed):
            state, error = self.backend.probe()
        return Health(info.backend, self.task, info.name, info.location, state, error)

    def self_test(self) -> None:
        """Run the model on a short input; any error is raised."""
        raise NotImplementedError

    def _watch(self, options: CallOptions) -> Watch:
        """Return the watch of a call, which stops it by its time limit or its token."""
        return Watch(self._timeout if options.timeout is None else options.timeout, options.cancel)


def open_handle(
    model: StrPath | Model, options: BridgeOptions | None = None, budget: Budget | None = None
) -> Handle[Any]:
    """Check an artifact and create the handle of its task, as `Handle.open` does, but load no graph.

    :param budget: the memory limit that the model shares with others; None is a limit for this model alone.
    """
    model, checked = as_model(model), checked_options(options)
    shared = Budget(checked.memory_mb) if budget is None else budget
    handle: Handle[Any]
    handle, opened = open_model(model, checked)
    handle._slot.adopt(Origin(opened, model, lambda new: open_handle(new, checked, shared)._slot, shared))
    return handle


def checked_options(options: BridgeOptions | None) -> BridgeOptions:
    """Return the options, or the defaults.

    :raises ConfigError: if a field is invalid.
    """
    options = BridgeOptions() if options is None else options
    check_options(options, BridgeOptions)
    check_bridge_options(options)
    return options


def check_list(values: object, what: str = "a list of strings") -> None:
    """Raise `InputError` if a caller passes a single text, or no sequence, where a list is expected."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        actual = type(values).__name__
        raise InputError("input_type", "a list is required, also for a single input", expected=what, actual=actual)


def check_options(options: object, expected: type) -> None:
    """Raise `ConfigError` if the options of a call, such as a prompt name alone, or their fields have another type."""
    if not isinstance(options, expected):
        raise ConfigError("options", expected=expected.__name__, actual=repr(options))
    for name, kind, is_valid in _FIELDS:
        value = getattr(options, name, None)
        if value is not None and not is_valid(value):
            raise ConfigError(name, expected=kind, actual=repr(value))


# Fields of options: their name, what they are, and the check of a value that is not None
_FIELDS: tuple[tuple[str, str, Callable[[object], bool]], ...] = (
    ("cancel", "a CancelToken", lambda value: isinstance(value, CancelToken)),
    ("prompt_name", "the name of a prompt", lambda value: isinstance(value, str)),
    ("progress", "a function", callable),
)


def all_results(
    slot: Slot[Any],
    inputs: Sequence[Any],
    options: CallOptions,
    watch: Watch,
    tokens: Callable[[Any], int] = _tokens,
) -> list[Any]:
    """Return the result of every input, in their order.

    :param tokens: returns the number of tokens of a result, for metrics.
    :raises InputError: with the index of the first invalid input; then no input was run.
    :raises StoppedError: if the call was cancelled or exceeded its time limit.
    """
    with slot.span(), Request(slot.meter, len(inputs), tokens) as request:
        prepared_for = slot.backend
        checked = _all_prepared(prepared_for, inputs, options)
        if not checked:
            return []
        with watch:
            watch.check()
            with slot.running(watch, request) as backend:
                if backend is not prepared_for:  # the model was reloaded meanwhile
                    checked = _all_prepared(backend, inputs, options)
                request.outcomes.update(_without_errors(backend.results(checked, options, watch)))
    return [request.outcomes[index] for index in range(len(inputs))]


def _without_errors(results: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield results, and raise the first that is an error; the others are not computed then."""
    for index, result in results:
        if isinstance(result, OnnxMlBridgeError):
            close = getattr(results, "close", None)
            if close is not None:
                close()
            raise result
        yield index, result


def _all_prepared(
    backend: BatchBackend[Checked, Options, Any], inputs: Sequence[Any], options: Options
) -> list[Checked]:
    backend.check(options)
    return [backend.prepare(value, index, options) for index, value in enumerate(inputs)]


def each_result(
    slot: Slot[Any],
    inputs: Sequence[Any],
    options: CallOptions,
    watch: Watch,
    tokens: Callable[[Any], int] = _tokens,
) -> list[Any]:
    """Return the result or the error of every input, in their order.

    An invalid input does not lose the others. A call that is stopped keeps the results that are ready.

    :param tokens: returns the number of tokens of a result, for metrics.
    :raises OnnxMlBridgeError: for an error of all inputs, such as an invalid option or graph.
    """
    with slot.span(), Request(slot.meter, len(inputs), tokens) as request:
        _collect_each(slot, inputs, options, watch, request)
    return [request.outcomes[index] for index in range(len(inputs))]


def _collect_each(slot: Slot[Any], inputs: Sequence[Any], options: CallOptions, watch: Watch, request: Request) -> None:
    """Add the outcome of every input to those of a call."""
    prepared_for = slot.backend
    checked, request.outcomes = _each_prepared(prepared_for, inputs, options)
    if not checked:
        return
    with watch:
        try:
            watch.check()
            with slot.running(watch, request) as backend:
                if backend is not prepared_for:  # the model was reloaded meanwhile
                    checked, request.outcomes = _each_prepared(backend, inputs, options)
                _collect(backend, checked, options, watch, request.outcomes)
        except StoppedError as error:
            request.outcomes |= {index: error for index in checked if index not in request.outcomes}


def _each_prepared(
    backend: BatchBackend[Checked, Options, Any], inputs: Sequence[Any], options: Options
) -> tuple[dict[int, Checked], dict[int, Any]]:
    """Return the checked inputs and the errors of the others, by index."""
    backend.check(options)
    outcomes: dict[int, Any] = {}
    checked: dict[int, Checked] = {}
    for index, value in enumerate(inputs):
        try:
            checked[index] = backend.prepare(value, index, options)
        except InputError as error:
            outcomes[index] = error
    return checked, outcomes


def _collect(
    backend: BatchBackend[Checked, Options, Any],
    checked: dict[int, Checked],
    options: Options,
    watch: Watch,
    outcomes: dict[int, Any],
) -> None:
    """Add the outcome of every checked input. After an error, the inputs without a result run one by one."""
    indices = list(checked)
    try:
        watch.check()
        for number, result in backend.results(list(checked.values()), options, watch):
            outcomes[indices[number]] = with_index(result, indices[number])
    except StoppedError as error:
        outcomes |= {index: error for index in indices if index not in outcomes}
    except (InferenceError, InputError) as error:
        if len(indices) == 1:
            outcomes[indices[0]] = with_index(error, indices[0])
            return
        for index in [index for index in indices if index not in outcomes]:
            try:
                _collect(backend, {index: checked[index]}, options, watch, outcomes)
            except OverloadedError as refused:  # other inputs have results, which are not lost
                outcomes[index] = refused


def with_index(outcome: Any, index: int) -> Any:
    """Return the outcome of an input; an error of the input gets its index in the call."""
    return outcome.with_index(index) if isinstance(outcome, InputError) else outcome
