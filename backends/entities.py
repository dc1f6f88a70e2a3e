"""Named entities by language models: a strict JSON schema, and copies that are found again in the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..artifacts.errors import ConfigError, InferenceError, InputError, OnnxMlBridgeError
from ..runtime.cancellation import Watch
from ..runtime.entities import Entities, entities_from_spans
from ..runtime.handles.handle import with_index
from ..runtime.handles.recognizer import RecognizeOptions, SentenceText
from ..runtime.options import ModelInfo
from ..runtime.summarization.chunks import is_whitespace
from ..runtime.tokenizer import check_text
from .align import Copied, align
from .chat import Asked, Completion, chat_body, complete
from .loop import run_all
from .models import ChatSettings
from .remote import Host, RemoteModel, outcome_of
from .summaries import Counter, count_bytes

_OF_ARTIFACTS = ("aggregation_strategy", "stride", "sentence_starts")
_KEYS = ("before", "text", "label")


class RemoteRecognizer(RemoteModel):
    """A language model that finds entities, a `RecognizerBackend`."""

    requires_sentence_starts = False

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
        self._format = response_format(settings.labels)

    def check(self, options: RecognizeOptions) -> None:
        """Raise `ConfigError` for options of ONNX models."""
        for name in _OF_ARTIFACTS:
            if getattr(options, name) is not None:
                raise ConfigError(name, expected="None, because the model is no ONNX artifact", actual="a value")

    def prepare(self, value: object, index: int, options: RecognizeOptions) -> SentenceText:
        """Check one text; raises `InputError` for an invalid one."""
        return SentenceText(check_text(value, index, self._text_limit))

    def results(
        self, inputs: Sequence[SentenceText], options: RecognizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Entities | OnnxMlBridgeError]]:
        """Yield the index and the entities or the error of every text; one of whitespace alone has none."""
        asked: list[int] = []
        for index, each in enumerate(inputs):
            if is_whitespace(each.text):
                yield index, Entities((), 0, False, self.info.backend)
            elif (error := self._size_error(each.text, watch)) is not None:
                yield index, with_index(error, index)
            else:
                asked.append(index)
        jobs = [partial(self._ask, inputs[index].text, watch.ends) for index in asked]
        for number, answer in run_all(jobs, watch):
            yield asked[number], self._outcome(answer, inputs[asked[number]].text, asked[number])

    def _size_error(self, text: str, watch: Watch) -> OnnxMlBridgeError | None:
        """Return the error of a text that does not fit; None if it does."""
        try:
            size = self.count(self.settings.prompt.with_text(text), watch)
        except OnnxMlBridgeError as error:
            watch.check()
            return error
        limit = self.settings.context - self.settings.max_output_tokens
        if size <= limit:
            return None
        what = "the text and the prompt are too long for the model"
        return InputError("context_too_long", what, expected=f"at most {limit}", actual=size)

    async def _ask(self, text: str, ends: float | None, emit: Callable[[Any], None]) -> Completion | OnnxMlBridgeError:
        settings = self.settings
        content = settings.prompt.with_text(text)
        asked = Asked(content, settings.max_output_tokens, response_format=self._format)
        body = chat_body(self.info.variant, asked, settings)
        answer: Completion | OnnxMlBridgeError = await outcome_of(
            complete(self.wire, body, meter=self.meter, ends=ends)
        )
        return answer

    def _outcome(self, answer: Completion | OnnxMlBridgeError, text: str, index: int) -> Entities | OnnxMlBridgeError:
        if isinstance(answer, OnnxMlBridgeError):
            failed: OnnxMlBridgeError = with_index(answer, index)
            return failed
        try:
            copies = read_entities(answer.text, self.settings)
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = "is cut at the limit of tokens" if answer.finish_reason == "length" else "is off its schema"
            return InferenceError(f"{self.wire.who}: the list of entities {problem}")
        aligned = align(text, copies)
        if aligned.dropped:
            self.meter.dropped(aligned.dropped)
        tokens = None if answer.usage is None else answer.usage.prompt_tokens
        found = entities_from_spans(text, aligned.spans)
        return Entities(found, tokens, False, self.info.backend, usage=answer.usage)


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
