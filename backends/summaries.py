"""Summaries by language models. Texts that do not fit are read in chunks, whose summaries are summarized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..artifacts.errors import ConfigError, InputError, OnnxMlBridgeError
from ..runtime.answers import Usage, total_usage
from ..runtime.cancellation import Watch
from ..runtime.chunks import is_whitespace, split_into_chunks
from ..runtime.handles.handle import with_index
from ..runtime.handles.summarizer import SummarizeOptions, Summary
from ..runtime.options import ModelInfo, check_limits
from ..runtime.tokenizer import check_text
from .chat import Asked, Completion, chat_body, complete
from .loop import run_all
from .models import ChatSettings, check_temperature
from .prompts import Prompt, parse_prompt
from .remote import Host, RemoteModel, outcome_of

_SEPARATOR = "\n"
_OF_BEAMS = ("num_beams", "min_length", "length_penalty")


class Counter(Protocol):
    """Counts the tokens of a prompt with its text, or something that is never less."""

    def __call__(self, content: str, watch: Watch) -> int:
        """Return the number of tokens of a message of the user, with all that the model reads beside it."""


def count_bytes(content: str, watch: Watch) -> int:
    """Return the size in bytes of UTF-8: a token has at least one."""
    return len(content.encode())


class RemoteSummarizer(RemoteModel):
    """A language model that summarizes, a `SummarizerBackend`."""

    max_tokens = None
    short_options = SummarizeOptions(max_length=1)

    def __init__(
        self, host: Host, info: ModelInfo, settings: ChatSettings, *, text_limit: int, count: Counter = count_bytes
    ) -> None:
        """Wrap a host.

        :param text_limit: maximum size of an input, its messages joined, in bytes of UTF-8.
        :param count: counts the tokens of a message of the user.
        """
        super().__init__(host, info)
        self.settings = settings
        self.count = count
        self._text_limit = text_limit

    def check(self, options: SummarizeOptions) -> None:
        """Raise `ConfigError` for options of beam search, and for invalid values."""
        for name in _OF_BEAMS:
            if getattr(options, name) is not None:
                expected = "None, because the model has no beam search"
                raise ConfigError(name, expected=expected, actual=repr(getattr(options, name)))
        check_limits(max_length=options.max_length)
        if options.max_length is not None and options.max_length >= self.settings.context:
            expected = f"less than the context of {self.settings.context}"
            raise ConfigError("max_length", expected=expected, actual=options.max_length)
        check_temperature(options.temperature)
        if options.seed is not None and (type(options.seed) is not int or not 0 <= options.seed < 1 << 32):
            raise ConfigError("seed", expected="an integer of 32 bits, at least 0", actual=repr(options.seed))
        self._prompt(options)

    def prepare(self, value: object, index: int, options: SummarizeOptions) -> str:
        """Check the messages of one input and join them to one text; raises `InputError` for an invalid input."""
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            actual = type(value).__name__
            expected = "a list of strings"
            raise InputError("input_type", "not a list of messages", index=index, expected=expected, actual=actual)
        text = _SEPARATOR.join(check_text(message, index, self._text_limit) for message in value)
        check_text(text, index, self._text_limit)
        if is_whitespace(text):
            expected = "a message that is not only whitespace"
            raise InputError("empty_input", "nothing to summarize", index=index, expected=expected)
        return text

    def results(
        self, inputs: Sequence[str], options: SummarizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Summary | OnnxMlBridgeError]]:
        """Yield the index and the summary or the error of every text."""
        call = _Call(self, options, self._prompt(options), watch)
        yield from call.run(inputs)

    def _prompt(self, options: SummarizeOptions) -> Prompt:
        return self.settings.prompt if options.prompt is None else parse_prompt(options.prompt)


@dataclass
class _Shortened:
    """A text that is replaced by shorter texts until it fits; `error` is set if that is impossible."""

    text: str
    usages: list[Usage | None] = field(default_factory=list)
    error: OnnxMlBridgeError | None = None
    fits: bool = False


@dataclass(frozen=True)
class _Call:
    """The state of one call."""

    model: RemoteSummarizer
    options: SummarizeOptions
    prompt: Prompt
    watch: Watch

    def run(self, inputs: Sequence[str]) -> Iterator[tuple[int, Summary | OnnxMlBridgeError]]:
        """Yield the outcome of every text. In each round, the chunks of all texts that are too long are summarized."""
        texts = [_Shortened(text) for text in inputs]
        for each in texts:
            self._measure(each)
        while too_long := [each for each in texts if each.error is None and not each.fits]:
            self._shorten(too_long)
        for index, each in enumerate(texts):
            if each.error is not None:
                yield index, with_index(each.error, index)
        indices = [index for index, each in enumerate(texts) if each.error is None]
        for number, answer in self._answers([texts[index].text for index in indices], indices):
            yield indices[number], self._outcome(answer, texts[indices[number]], indices[number])

    def _outcome(self, answer: Any, text: _Shortened, index: int) -> Summary | OnnxMlBridgeError:
        if isinstance(answer, OnnxMlBridgeError):
            return answer.with_index(index) if isinstance(answer, InputError) else answer
        usage = total_usage([*text.usages, answer.usage])
        tokens = None if answer.usage is None else answer.usage.completion_tokens
        return Summary(answer.text.strip(), None, tokens, None, False, self.model.info.backend, usage=usage)

    def _measure(self, each: _Shortened) -> None:
        """Set whether a text fits, or the error that prevents counting."""
        try:
            each.fits = self._fits(each.text)
        except OnnxMlBridgeError as error:
            self.watch.check()
            each.error = error

    def _fits(self, text: str) -> bool:
        self.watch.check()
        return self.model.count(self.prompt.with_text(text), self.watch) <= self._budget

    @property
    def _max_tokens(self) -> int:
        return self.options.max_length or self.model.settings.max_output_tokens

    @property
    def _budget(self) -> int:
        """The number of tokens that a prompt with its text may have."""
        return self.model.settings.context - self._max_tokens

    def _shorten(self, texts: Sequence[_Shortened]) -> None:
        """Replace each text by the joined summaries of its chunks."""
        chunks = [self._chunks(each) for each in texts]
        owners = [each for each, own in zip(texts, chunks, strict=True) for _ in own]
        answers = dict(self._answers([chunk for own in chunks for chunk in own], None))
        parts: dict[int, list[str]] = {id(each): [] for each in texts}
        for number, owner in enumerate(owners):
            answer = answers[number]
            if isinstance(answer, OnnxMlBridgeError):
                owner.error = owner.error or answer
            else:
                owner.usages.append(answer.usage)
                parts[id(owner)].append(answer.text.strip())
        for each in texts:
            self._replace(each, _SEPARATOR.join(parts[id(each)]))

    def _chunks(self, each: _Shortened) -> list[str]:
        """Return the chunks of a text; none if one of them does not fit."""
        try:
            chunks = list(split_into_chunks(each.text, self._fits))
            if not all(self._fits(chunk) for chunk in chunks):
                each.error = InputError("context_too_long", "a sentence is too long for the model")
        except OnnxMlBridgeError as error:
            self.watch.check()
            each.error = error
        return [] if each.error is not None else chunks

    def _replace(self, each: _Shortened, text: str) -> None:
        if each.error is not None:
            return
        if len(text.encode()) >= len(each.text.encode()):
            each.error = InputError("context_too_long", "the summaries of the chunks are not shorter than the text")
        elif is_whitespace(text):
            each.error = InputError("context_too_long", "the summaries of the chunks are empty")
        else:
            each.text = text
            self._measure(each)

    def _answers(self, texts: Sequence[str], indices: Sequence[int] | None) -> Iterator[tuple[int, Any]]:
        """Yield the number and the completion or the error of each text.

        :param indices: the indices of the inputs for `on_token`; None for chunks, of which nothing is shown.
        """
        jobs = [partial(self._ask, text, None if indices is None else indices[n]) for n, text in enumerate(texts)]
        on_token = self.options.on_token
        show = None if on_token is None else lambda event: on_token(*event)
        for done, answer in enumerate(run_all(jobs, self.watch, show), start=1):
            if self.options.progress is not None:
                self.options.progress(done, len(texts))
            yield answer

    async def _ask(self, text: str, index: int | None, emit: Callable[[Any], None]) -> Completion | OnnxMlBridgeError:
        options, model = self.options, self.model
        asked = Asked(self.prompt.with_text(text), self._max_tokens, options.temperature, options.seed)
        body = chat_body(model.info.variant, asked, model.settings)
        shows = index is not None and options.on_token is not None
        on_token = (lambda part: emit((index, part))) if shows else None
        request = complete(model.wire, body, meter=model.meter, ends=self.watch.ends, on_token=on_token)
        answer: Completion | OnnxMlBridgeError = await outcome_of(request)
        return answer
