"""Every error the package raises on purpose.

    OnnxMlBridgeError
    ├── ArtifactError       an artifact was refused (`path_kind` ... `golden`)
    ├── InputError          a text or a line of input was refused; knows its index in the batch
    ├── BuildError          an artifact could not be built (`config`, `source`, `gate`, ...)
    ├── ConfigError         an option of a call is wrong
    ├── DependencyError     a library that the call needs is not installed
    ├── TaskNotLoadedError  the call needs a model that was not opened
    ├── StoppedError        a call was cancelled, or its time was over (`cancelled`, `timeout`)
    └── InferenceError      the engine failed while it ran a graph

`code` is stable, listed in FORMAT.md and the same in the Rust crate; the message is for people.
"""

from __future__ import annotations

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
)
OTHER_CODES = (
    "input_type",
    "input_text",
    "input_too_large",
    "empty_input",
    "bad_line",
    "prompt_not_found",
    "sentence_starts",
    "model_not_found",
    "task_not_loaded",
    "dependency",
    "inference",
    "cancelled",
    "timeout",
    "config",
    "source",
    "unsupported_model",
    "unsafe_checkpoint",
    "gate",
    "io",
)


class OnnxMlBridgeError(Exception):
    """Base of all errors; says what is wrong, what was expected, what was found and what to do."""

    def __init__(
        self, code: str, what: str, *, expected: object = None, got: object = None, hint: str | None = None
    ) -> None:
        """Compose the message from its parts; `code` must be one of the listed ones."""
        if code not in ARTIFACT_CODES + OTHER_CODES:
            raise ValueError(f"unknown error code {code!r}")
        self.code = code
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}")
        message = ", ".join(parts)
        super().__init__(f"{message}. {hint}" if hint else message)


class ArtifactError(OnnxMlBridgeError):
    """An artifact was refused: by a check before anything was loaded, or by ONNX Runtime while it loaded a graph."""


class InputError(OnnxMlBridgeError):
    """A text was refused. `index` is its place in the batch, counted from 0; None where it is about no text of one."""

    def __init__(
        self, code: str, what: str, *, index: int | None = None, expected: object = None, got: object = None
    ) -> None:
        """Prefix the message with the place in the batch."""
        self.index = index
        super().__init__(code, what if index is None else f"text {index}: {what}", expected=expected, got=got)


class BuildError(OnnxMlBridgeError):
    """An artifact could not be built; nothing was written to its place."""


class ConfigError(OnnxMlBridgeError):
    """An option of a call is wrong."""

    def __init__(self, option: str, *, expected: object, got: object) -> None:
        """Raise with the code `config`."""
        super().__init__("config", f"option {option}", expected=expected, got=got)


class DependencyError(OnnxMlBridgeError):
    """A library is missing; the message holds the command that installs it."""

    def __init__(self, what: str, *, hint: str) -> None:
        """Raise with the code `dependency`."""
        super().__init__("dependency", what, hint=hint)


class TaskNotLoadedError(OnnxMlBridgeError):
    """The call needs a model that was not given to `open`."""

    def __init__(self, task: str, argument: str) -> None:
        """Name the argument of `open` that would load the task."""
        super().__init__("task_not_loaded", f"no model was opened for {task}", hint=f"Pass {argument}=DIR to open().")


class StoppedError(OnnxMlBridgeError):
    """A call ended before it had an answer: it was cancelled, or its time was over. The model serves on."""


class InferenceError(OnnxMlBridgeError):
    """The engine failed, or gave a value that is not finite."""

    def __init__(self, what: str) -> None:
        """Raise with the code `inference`."""
        super().__init__("inference", what)
