"""What handles require of a model: `Backend`, whose protocols the families and the other backends implement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from ...artifacts.errors import OnnxMlBridgeError
from ..cancellation import CancelToken, Watch
from ..options import ModelInfo
from ..status import ModelState

# The options of a call, a checked input and the result of one input
Options = TypeVar("Options", bound="CallOptions", contravariant=True)
Checked = TypeVar("Checked")
Result = TypeVar("Result", covariant=True)


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


@runtime_checkable
class Probed(Protocol):
    """A model of a server that can be asked whether it works."""

    def probe(self) -> tuple[ModelState, str | None]:
        """Return the state and the code of an error, at no cost of tokens."""


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

    def results(
        self, inputs: Sequence[Checked], options: Options, watch: Watch
    ) -> Iterator[tuple[int, Result | OnnxMlBridgeError]]:
        """Yield the index of an input and its result, in any order, as soon as it is ready.

        A backend that knows which inputs fail yields their errors, and no input runs twice.

        :raises StoppedError: if the watch stopped the call.
        :raises InferenceError: if ONNX Runtime fails.
        """
