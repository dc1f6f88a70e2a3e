"""The exceptions of the package.

    OnnxMlBridgeError
    ├── ArtifactError       an artifact is invalid or not supported (`path_kind` ... `golden`), or unreadable (`io`)
    ├── InputError          a text or a line of input is invalid; `index` is its index in the batch
    ├── BuildError          an artifact could not be built (`config`, `source`, `gate`, ...)
    ├── ConfigError         an option of a call is invalid
    ├── DependencyError     a required library is not installed
    ├── StoreError          a store has no answer, refuses a change, or cannot be reached (`not_found`, `store`, ...)
    ├── DeviceError         a device cannot be used
    ├── TaskNotLoadedError  the call requires a model that is not open
    ├── ClosedError         the model or the bridge was closed
    ├── StoppedError        a call was cancelled or exceeded its timeout (`cancelled`, `timeout`)
    ├── BackendError        a server or another backend gives no answer (`auth`, `rate_limited`, `upstream`, ...)
    ├── OverloadedError     the model has too many waiting calls, or the system refuses a thread (`overloaded`)
    └── InferenceError      ONNX Runtime failed or a graph returned an invalid value

Every exception has a `code`, which is stable, listed in FORMAT.md and the same in the Rust crate. The wording of the
messages may change.
"""

from __future__ import annotations

from collections.abc import Iterable

ARTIFACT_CODES = (
    "path_kind",
    "manifest_hash",
    "json",
    "format_version",
    "unknown_task",
    "schema",
    "file_set",
    "size",
    "file_hash",
    "graph",
    "tokenizer",
    "variant",
    "golden",
    "signature",
)
OTHER_CODES = (
    "identity",
    "input_type",
    "input_text",
    "input_too_large",
    "empty_input",
    "bad_line",
    "prompt_not_found",
    "sentence_starts",
    "model_not_found",
    "task_not_loaded",
    "closed",
    "dependency",
    "device",
    "inference",
    "cancelled",
    "timeout",
    "overloaded",
    "config",
    "source",
    "unsupported_model",
    "unsafe_checkpoint",
    "gate",
    "io",
    "not_found",
    "exists",
    "conflict",
    "offline",
    "store",
    "auth",
    "quota",
    "rate_limited",
    "context_too_long",
    "refused",
    "upstream",
    "not_local",
    "internal",
)


class OnnxMlBridgeError(Exception):
    """Base class of the exceptions; the message states the problem, the expected and actual values, and a remedy."""

    def __init__(
        self, code: str, what: str, *, expected: object = None, actual: object = None, hint: str | None = None
    ) -> None:
        """Compose the message from its parts; `code` must be in `ARTIFACT_CODES` or `OTHER_CODES`."""
        if code not in ARTIFACT_CODES + OTHER_CODES:
            raise ValueError(f"unknown error code {code!r}")
        self.code = code
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if actual is not None:
            parts.append(f"got {actual}")
        message = ", ".join(parts)
        super().__init__(f"{message}. {hint}" if hint else message)

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later.

        True for `timeout`, `overloaded`, `io`, `conflict`, `store`, `rate_limited` and `upstream`.
        """
        return self.code in ("timeout", "overloaded", "io", "conflict", "store", "rate_limited", "upstream")


class ArtifactError(OnnxMlBridgeError):
    """An artifact is invalid or not supported; raised by the checks or while a graph is loaded."""


class InputError(OnnxMlBridgeError):
    """An input is invalid; `index` is its index in the batch, or None if the error is not about one text of a batch."""

    def __init__(
        self, code: str, what: str, *, index: int | None = None, expected: object = None, actual: object = None
    ) -> None:
        """Create the error; the message begins with the index of the text in the batch."""
        self.index = index
        self._parts = (what, expected, actual)
        super().__init__(code, what if index is None else f"text {index}: {what}", expected=expected, actual=actual)

    def with_index(self, index: int | None) -> InputError:
        """Return the same error with another index in the batch."""
        what, expected, actual = self._parts
        return InputError(self.code, what, index=index, expected=expected, actual=actual)


class BuildError(OnnxMlBridgeError):
    """An artifact could not be built; the target folder is unchanged."""


class ConfigError(OnnxMlBridgeError):
    """An option of a call is invalid."""

    def __init__(self, option: str, *, expected: object, actual: object) -> None:
        """Create the error with the code `config`."""
        super().__init__("config", f"option {option}", expected=expected, actual=actual)


class DependencyError(OnnxMlBridgeError):
    """A required library is not installed; the message contains the command that installs it."""

    def __init__(self, what: str, *, hint: str) -> None:
        """Create the error with the code `dependency`."""
        super().__init__("dependency", what, hint=hint)


class StoreError(OnnxMlBridgeError):
    """A store has no answer, refuses a change, or cannot be reached; its code is one of STORE.md."""

    def __init__(
        self, what: str, *, code: str = "store", expected: object = None, actual: object = None, hint: str | None = None
    ) -> None:
        """Create the error, with the code `store` unless another one is given."""
        super().__init__(code, what, expected=expected, actual=actual, hint=hint)


class BackendError(OnnxMlBridgeError):
    """A server or another backend gives no answer, or may not be used; docs/backends.md lists the codes.

    `status` is the HTTP status of the answer, `retry_after` the time in seconds after which the server allows another
    request; both are None if the server did not say.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
    ) -> None:
        """Create the error; the message never has what a server wrote, which may quote the key or a text."""
        self.status = status
        self.retry_after = retry_after
        super().__init__(code, what, expected=expected, actual=actual, hint=hint)


class DeviceError(OnnxMlBridgeError):
    """A device that an option names cannot be used; `reason` says why."""

    def __init__(self, device: str, reason: str, *, available: Iterable[str] = ()) -> None:
        """Create the error with the code `device`.

        :param available: the devices that this build of ONNX Runtime supports.
        """
        self.reason = reason
        names = ", ".join(available)
        hint = f"Available: {names}. The device auto uses a GPU if one works, else the CPU." if names else None
        super().__init__("device", f"device {device} cannot be used: {reason.rstrip('.')}", hint=hint)


def missing_store_library(what: str, library: str) -> DependencyError:
    """Return the error for a library of the extra `store` that is not installed.

    :param what: what requires it, such as `stores require`.
    """
    return DependencyError(f"{what} the library {library}", hint="Install it: pip install 'onnx-ml-bridge[store]'")


class TaskNotLoadedError(OnnxMlBridgeError):
    """The call requires a model that is not open."""

    def __init__(self, task: str) -> None:
        """Create the error with the code `task_not_loaded`."""
        super().__init__("task_not_loaded", f"no model for the task {task} is open", hint="Open one for it.")


class ClosedError(OnnxMlBridgeError):
    """The model or the bridge was closed."""

    def __init__(self, name: str) -> None:
        """Create the error with the code `closed`; `name` is the name of the model, or `the bridge`."""
        super().__init__("closed", f"{name} was closed", hint="Open it again.")


class StoppedError(OnnxMlBridgeError):
    """A call was cancelled or exceeded its timeout; the model can still be used."""


class OverloadedError(OnnxMlBridgeError):
    """The model has too many waiting calls, or the system refuses a thread; nothing of the call was run."""

    def __init__(self, what: str, *, expected: object = None, actual: object = None) -> None:
        """Create the error with the code `overloaded`."""
        super().__init__("overloaded", what, expected=expected, actual=actual, hint="Try again later.")


class InferenceError(OnnxMlBridgeError):
    """ONNX Runtime failed to run a graph, or a graph returned an invalid value."""

    def __init__(self, what: str) -> None:
        """Create the error with the code `inference`."""
        super().__init__("inference", what)
