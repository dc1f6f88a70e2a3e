"""What the handles of all tasks share: their models, and how calls run, stop and fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from ...artifacts.errors import ArtifactError, ConfigError, InferenceError, InputError, OnnxMlBridgeError, StoppedError
from ..cancellation import CancelToken, Watch, check_timeout
from ..loading import open_model
from ..options import BridgeOptions, Model, ModelInfo, StrPath, Task, as_model, check_bridge_options

# The options of a call, a checked input and the result of one input
Options = TypeVar("Options", bound="CallOptions", contravariant=True)
Checked = TypeVar("Checked")
Result = TypeVar("Result", covariant=True)
Self = TypeVar("Self", bound="Handle[Any]")


class CallOptions(Protocol):
    """The options that calls of every task have."""

    @property
    def timeout(self) -> float | None:
        """The time limit of the call in seconds; None uses the model's."""

    @property
    def cancel(self) -> CancelToken | None:
        """The token that can stop the call."""


class Backend(Protocol):
    """A model behind a handle. Thread-safe; the first call loads the graphs."""

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""

    def load(self) -> None:
        """Load the graphs now instead of in the first call."""

    def unload(self) -> None:
        """Free the graphs; running calls end first, and the next call loads them again."""


class BatchBackend(Backend, Protocol[Checked, Options, Result]):
    """A model that maps each input of a list to a result."""

    def check(self, options: Options) -> None:
        """Check the options of a call without running the model.

        :raises OnnxMlBridgeError: if an option is invalid for the model.
        """

    def prepare(self, value: Any, index: int, options: Options) -> Checked:
        """Check one input.

        :param index: the index of the input in the call, for the error.
        :raises InputError: if the model cannot read it.
        """

    def results(self, inputs: Sequence[Checked], options: Options, watch: Watch) -> Iterator[tuple[int, Result]]:
        """Yield the index of an input and its result, in any order, as soon as it is ready.

        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if ONNX Runtime fails.
        """


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
        self.backend = backend
        self._name = name
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
        info = self.backend.info
        return info if self._name is None else replace(info, name=self._name)

    def warm_up(self) -> None:
        """Load the graphs now instead of in the first call.

        :raises DependencyError: if ONNX Runtime is not installed.
        :raises ArtifactError: with the code `graph` if ONNX Runtime cannot load a graph.
        """
        self.backend.load()

    def unload(self) -> None:
        """Free the graphs. Calls that run end as usual, and the next call loads the graphs again."""
        self.backend.unload()

    def self_test(self) -> None:
        """Run the model on a short input; any error is raised."""
        raise NotImplementedError

    def _watch(self, options: CallOptions) -> Watch:
        """Return the watch of a call, which stops it by its time limit or its token."""
        return Watch(self._timeout if options.timeout is None else options.timeout, options.cancel)


def open_handle(model: StrPath | Model, options: BridgeOptions | None = None) -> Handle[Any]:
    """Check an artifact and create the handle of its task, as `Handle.open` does, but load no graph."""
    options = BridgeOptions() if options is None else options
    check_options(options, BridgeOptions)
    check_bridge_options(options)
    handle: Handle[Any] = open_model(as_model(model), options)
    return handle


def check_list(values: object, what: str = "a list of strings") -> None:
    """Raise `InputError` if a caller passes a single text, or no sequence, where a list is expected."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        actual = type(values).__name__
        raise InputError("input_type", "a list is required, also for a single input", expected=what, actual=actual)


def check_options(options: object, expected: type) -> None:
    """Raise `ConfigError` if the options of a call are of another class, such as a prompt name alone."""
    if not isinstance(options, expected):
        raise ConfigError("options", expected=expected.__name__, actual=repr(options))


def all_results(
    backend: BatchBackend[Checked, Options, Result], inputs: Sequence[Any], options: Options, watch: Watch
) -> list[Result]:
    """Return the result of every input, in their order.

    :raises InputError: with the index of the first invalid input; then no input was run.
    :raises StoppedError: if the call was cancelled or exceeded its time limit.
    """
    backend.check(options)
    checked = [backend.prepare(value, index, options) for index, value in enumerate(inputs)]
    with watch:
        watch.check()
        results = dict(backend.results(checked, options, watch))
    return [results[index] for index in range(len(inputs))]


def each_result(
    backend: BatchBackend[Checked, Options, Result], inputs: Sequence[Any], options: Options, watch: Watch
) -> list[Result | OnnxMlBridgeError]:
    """Return the result or the error of every input, in their order.

    An invalid input does not lose the others. A call that is stopped keeps the results that are ready.

    :raises OnnxMlBridgeError: for an error of all inputs, such as an invalid option or graph.
    """
    backend.check(options)
    outcomes: dict[int, Result | OnnxMlBridgeError] = {}
    checked: dict[int, Checked] = {}
    for index, value in enumerate(inputs):
        try:
            checked[index] = backend.prepare(value, index, options)
        except InputError as error:
            outcomes[index] = error
    with watch:
        _collect(backend, checked, options, watch, outcomes)
    return [outcomes[index] for index in range(len(inputs))]


def _collect(
    backend: BatchBackend[Checked, Options, Result],
    checked: dict[int, Checked],
    options: Options,
    watch: Watch,
    outcomes: dict[int, Result | OnnxMlBridgeError],
) -> None:
    """Add the outcome of every checked input. After an error, the inputs without a result run one by one."""
    indices = list(checked)
    try:
        watch.check()
        for number, result in backend.results(list(checked.values()), options, watch):
            outcomes[indices[number]] = result
    except StoppedError as error:
        outcomes |= {index: error for index in indices if index not in outcomes}
    except (InferenceError, InputError) as error:
        if len(indices) == 1:
            outcomes[indices[0]] = error.with_index(indices[0]) if isinstance(error, InputError) else error
            return
        for index in [index for index in indices if index not in outcomes]:
            _collect(backend, {index: checked[index]}, options, watch, outcomes)
