"""Named entities by language models: a strict JSON schema, and copies that are found again in the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..artifacts.errors import ConfigError, InferenceError, InputError, OnnxMlBridgeError
from ..runtime.cancellation import Watch
from ..runtime.chunks import is_whitespace
from ..runtime.entities import Entities, entities_from_spans
from ..runtime.handles.handle import with_index
from ..runtime.handles.recognizer import RecognizeOptions, SentenceText
from ..runtime.options import ModelInfo
from ..runtime.tokenizer import check_text
from .align import Copied, align
from .chat import Asked, Completion, chat_body, complete
from .loop import run_all
from .models import ChatSettings, checked_labels
from .remote import Host, RemoteModel, outcome_of
from .summaries import Counter, count_bytes

_OF_ARTIFACTS = ("aggregation_strategy", "stride", "sentence_starts", "threshold", "nested", "multi_label")
_KEYS = ("before", "text", "label")


class RemoteRecognizer(RemoteModel):
    """A language model that finds entities, a `RecognizerBackend` that takes labels."""

    requires_sentence_starts = False
    takes_labels = True

    def __init__(
        self, host: Host, info: ModelInfo, settings: ChatSettings, *, text_limit: int, count: Counter = count_bytes
    ) -> None:
        """Wrap a host.

        :param text_limit: maximum size of a text in bytes of UTF-8.
        :param count: counts the tokens of a message of the user.
        """
        super().__init__(host, info)
        self.settings = settings
        self.count = count
        self._text_limit = text_limit

    def check(self, options: RecognizeOptions) -> None:
        """Raise `ConfigError` for options of ONNX models, and for invalid labels."""
        for name in _OF_ARTIFACTS:
            if getattr(options, name) is not None:
                raise ConfigError(name, expected="None, because the model is no ONNX artifact", actual="a value")
        self._settings_of(options)

    def prepare(self, value: object, index: int, options: RecognizeOptions) -> SentenceText:
        """Check one text; raises `InputError` for an invalid one."""
        return SentenceText(check_text(value, index, self._text_limit))

    def results(
        self, inputs: Sequence[SentenceText], options: RecognizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Entities | OnnxMlBridgeError]]:
        """Yield the index and the entities or the error of every text; one of whitespace alone has none."""
        settings = self._settings_of(options)
        asked: list[int] = []
        for index, each in enumerate(inputs):
            if is_whitespace(each.text):
                yield index, Entities((), 0, False, self.info.backend)
            elif (error := self._size_error(each.text, settings, watch)) is not None:
                yield index, with_index(error, index)
            else:
                asked.append(index)
        jobs = [partial(self._ask, inputs[index].text, settings, watch.ends) for index in asked]
        for number, answer in run_all(jobs, watch):
            index = asked[number]
            yield index, with_index(self._outcome(answer, inputs[index].text, settings), index)

    def _settings_of(self, options: RecognizeOptions) -> ChatSettings:
        """Return the settings of the model, with the labels of the call if it names some."""
        if options.labels is None:
            return self.settings
        return replace(self.settings, labels=checked_labels(options.labels))

    def _size_error(self, text: str, settings: ChatSettings, watch: Watch) -> OnnxMlBridgeError | None:
        """Return the error of a text that does not fit; None if it does."""
        try:
            size = self.count(_content(text, settings), watch)
        except OnnxMlBridgeError as error:
            watch.check()
            return error
        limit = settings.context - settings.max_output_tokens
        if size <= limit:
            return None
        what = "the text and the prompt are too long for the model"
        return InputError("context_too_long", what, expected=f"at most {limit}", actual=size)

    async def _ask(
        self, text: str, settings: ChatSettings, ends: float | None, emit: Callable[[Any], None]
    ) -> Completion | OnnxMlBridgeError:
        form = response_format(settings.labels)
        asked = Asked(_content(text, settings), settings.max_output_tokens, response_format=form)
        body = chat_body(self.info.variant, asked, settings)
        answer: Completion | OnnxMlBridgeError = await outcome_of(
            complete(self.wire, body, meter=self.meter, ends=ends)
        )
        return answer

    def _outcome(
        self, answer: Completion | OnnxMlBridgeError, text: str, settings: ChatSettings
    ) -> Entities | OnnxMlBridgeError:
        if isinstance(answer, OnnxMlBridgeError):
            return answer
        try:
            copies = read_entities(answer.text, settings)
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = "is cut at the limit of tokens" if answer.finish_reason == "length" else "is off its schema"
            return InferenceError(f"{self.wire.who}: the list of entities {problem}")
        aligned = align(text, copies)
        if aligned.dropped:
            self.meter.dropped(aligned.dropped)
        tokens = None if answer.usage is None else answer.usage.prompt_tokens
        found = entities_from_spans(text, aligned.spans)
        return Entities(found, tokens, False, self.info.backend, usage=answer.usage)


def _content(text: str, settings: ChatSettings) -> str:
    """Return the message of the user for a text."""
    return settings.prompt.with_labels(settings.labels).with_text(text)


def response_format(labels: Sequence[str]) -> dict[str, Any]:
    """Return the strict JSON schema of an answer."""
    text = {"type": "string"}
    properties = {"before": text, "text": text, "label": {"type": "string", "enum": list(labels)}}
    item = {"type": "object", "properties": properties, "required": list(_KEYS), "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"entities": {"type": "array", "items": item}},
        "required": ["entities"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "entities", "strict": True, "schema": schema}}


def read_entities(answer: str, settings: ChatSettings) -> list[Copied]:
    """Return the entities of an answer.

    :raises ValueError: or KeyError, TypeError for an answer off its schema.
    """
    found = json.loads(answer)["entities"]
    if not isinstance(found, list) or len(found) > settings.max_output_tokens:  # each has more tokens than one
        raise ValueError("not a list, or too long")
    copies = []
    for each in found:
        before, text, label = (each[key] for key in _KEYS)
        if not isinstance(before, str) or not isinstance(text, str) or label not in settings.labels:
            raise ValueError("not an entity")
        copies.append(Copied(text, label, before))
    return copies
