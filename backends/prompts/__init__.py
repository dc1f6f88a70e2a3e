"""Prompts: texts with one `{text}`, which is replaced literally."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ...artifacts.errors import ConfigError, OnnxMlBridgeError
from ...runtime.options import StrPath, Task

_TEXT, _LABELS = "{text}", "{labels}"


@dataclass(frozen=True)
class Prompt:
    """What is before and after the text."""

    before: str
    after: str

    def with_text(self, text: str) -> str:
        """Return the prompt of a text, whose braces mean nothing."""
        return self.before + text + self.after

    def with_labels(self, labels: Sequence[str]) -> Prompt:
        """Return the prompt with the labels instead of `{labels}`."""
        before, after = (part.replace(_LABELS, ", ".join(labels)) for part in (self.before, self.after))
        return Prompt(before, after)


def parse_prompt(template: object) -> Prompt:
    """Return the prompt of a text with one `{text}`.

    :raises ConfigError: if it has no or several `{text}`, or a lone surrogate.
    """
    expected = "a text with exactly one {text}"
    if not isinstance(template, str) or template.count(_TEXT) != 1:
        actual = f"{template.count(_TEXT)} of them" if isinstance(template, str) else type(template).__name__
        raise ConfigError("prompt", expected=expected, actual=actual)
    try:
        template.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("prompt", expected=expected, actual="a lone surrogate") from error
    before, after = template.split(_TEXT)
    return Prompt(before, after)


def read_prompt(path: StrPath | None, task: Task) -> Prompt:
    """Return the prompt in a UTF-8 file; None is the one of the package for the task.

    :raises OnnxMlBridgeError: with the code `io` if the file cannot be read.
    :raises ConfigError: if it is not UTF-8, or has not exactly one `{text}`.
    """
    return parse_prompt(_built_in(task) if path is None else _file(Path(path)))


@cache
def _built_in(task: Task) -> str:
    return resources.files(__package__).joinpath(f"{task}.txt").read_text(encoding="utf-8")


def _file(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise OnnxMlBridgeError("io", f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("prompt", expected="a file in UTF-8", actual=str(path)) from error
