"""What a caller says of a model of a server or of a GGUF file, and the checks of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..artifacts.errors import ConfigError
from ..runtime.options import StrPath, Task, check_limits, check_space
from .prompts import Prompt, read_prompt

DEFAULT_CONTEXT = 8192
DEFAULT_OUTPUT_TOKENS = {Task.NER: 2048, Task.SUMMARIZATION: 256}
# The types of entities of OntoNotes, which spaCy's English pipelines have
ONTONOTES = (
    "PERSON",
    "NORP",
    "FAC",
    "ORG",
    "GPE",
    "LOC",
    "PRODUCT",
    "EVENT",
    "WORK_OF_ART",
    "LAW",
    "LANGUAGE",
    "DATE",
    "TIME",
    "PERCENT",
    "MONEY",
    "QUANTITY",
    "ORDINAL",
    "CARDINAL",
)


@dataclass(frozen=True)
class ApiModel:
    """A model of a server.

    `model` is its name at the server, `context` the number of tokens that it reads and writes.

    For embeddings: `dimensions` is the number of elements of its vectors; an answer with others is an error.
    `send_dimensions` puts the number into requests, and lets calls ask for fewer. `space` names the space of its
    vectors: models of the same space may replace each other in a chain.

    For entities and summaries: `prompt` is the path of a UTF-8 file with one `{text}`; None uses the one of this
    package. `max_output_tokens` is the limit of an answer; None is 2048 for entities and 256 for summaries.
    `temperature` is sent if it is given. `labels` are the types of entities; none means those of OntoNotes.
    """

    model: str
    context: int = DEFAULT_CONTEXT
    dimensions: int | None = None
    send_dimensions: bool = False
    space: str | None = None
    prompt: StrPath | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class ChatSettings:
    """The settings of a language model for one task.

    `limit_key` is the key of requests that has the limit of tokens, `extra` has further keys of requests.
    """

    context: int
    max_output_tokens: int
    prompt: Prompt
    limit_key: str = "max_tokens"
    temperature: float | None = None
    labels: tuple[str, ...] = ONTONOTES
    extra: tuple[tuple[str, Any], ...] = ()


def check_api_model(model: object, task: Task) -> ApiModel:
    """Return a model of a server.

    :raises ConfigError: if a field is invalid, or is for another task.
    """
    if not isinstance(model, ApiModel):
        raise ConfigError(task, expected="an ApiModel", actual=type(model).__name__)
    if not isinstance(model.model, str) or not model.model or not model.model.isprintable():
        raise ConfigError("model", expected="the name of a model", actual=repr(model.model))
    check_limits(context=model.context, dimensions=model.dimensions, max_output_tokens=model.max_output_tokens)
    check_space(model.space)
    return model


def chat_settings(
    task: Task,
    *,
    context: int,
    prompt: StrPath | None,
    max_output_tokens: int | None,
    labels: Sequence[str] = (),
    temperature: float | None = None,
    limit_key: str = "max_tokens",
    extra: tuple[tuple[str, Any], ...] = (),
) -> ChatSettings:
    """Return the settings of a language model; see `ApiModel`.

    :raises ConfigError: if an option is invalid.
    """
    output_tokens = DEFAULT_OUTPUT_TOKENS[task] if max_output_tokens is None else max_output_tokens
    if output_tokens >= context:
        raise ConfigError("max_output_tokens", expected=f"less than the context of {context}", actual=output_tokens)
    checked = ONTONOTES if labels in ((), []) else checked_labels(labels)
    check_temperature(temperature)
    if prompt is not None and not isinstance(prompt, (str, os.PathLike)):
        raise ConfigError("prompt", expected="the path of a file", actual=repr(prompt))
    found = read_prompt(prompt, task)
    return ChatSettings(context, output_tokens, found, limit_key, temperature, checked, extra)


def check_temperature(value: Any) -> None:
    """Raise `ConfigError` unless a temperature is None or a number from 0 to 2."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value <= 2):
        raise ConfigError("temperature", expected="a number from 0 to 2", actual=repr(value))


def checked_labels(labels: Any) -> tuple[str, ...]:
    """Return the types of entities to find, without repetitions.

    :raises ConfigError: if they are no names, or none.
    """
    is_list = isinstance(labels, Sequence) and not isinstance(labels, str) and len(labels) > 0
    if not is_list or any(not isinstance(each, str) or not each for each in labels):
        raise ConfigError("labels", expected="a list of names, at least one", actual=repr(labels))
    try:
        "".join(labels).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("labels", expected="names without lone surrogates", actual=repr(error.object)) from error
    return tuple(dict.fromkeys(labels))
