"""The handle of summarization models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...artifacts.errors import OnnxMlBridgeError
from ..answers import ONNX, Fallback, Usage
from ..cancellation import CancelToken
from ..options import Task
from .backend import BatchBackend
from .handle import Handle, all_results, check_list, check_options, each_result

_SELF_TEST_TEXT = "health check"


@dataclass(frozen=True, kw_only=True)
class SummarizeOptions:
    """Options of one call; None selects the model's default.

    `num_beams`, `min_length`, `max_length` and `length_penalty` are those of transformers' `generate`; lengths count
    tokens, including the decoder's start token.

    With `map_reduce`, an input that is too long is split into chunks, and the summaries of the chunks are summarized;
    without it, the input is truncated. `timeout` is in seconds from the start of the call; `cancel` can stop the call
    from another thread. `progress(done, total)` is called whenever a text was summarized; texts are inputs or their
    chunks, and every round of `map_reduce` counts from 0 again.

    The next four are for language models, which in turn have no `num_beams`, `min_length` and `length_penalty`, and
    always read whole inputs. `prompt` is a text with one `{text}`. `temperature` and `seed` are those of the sampling.
    `on_token(index, text)` is called with the index of the input and every new part of its summary, as it is generated.
    """

    num_beams: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    length_penalty: float | None = None
    map_reduce: bool = False
    timeout: float | None = None
    cancel: CancelToken | None = None
    progress: Callable[[int, int], None] | None = None
    prompt: str | None = None
    temperature: float | None = None
    seed: int | None = None
    on_token: Callable[[int, str], None] | None = None


@dataclass(frozen=True)
class Summary:
    """The summary of one input.

    `token_ids` includes the decoder's start token, `tokens` does not count it. `score` is the score of the best beam;
    only scores of calls with the same settings are comparable. `truncated` is true if part of the input was not read.

    `backend` is what gave the answer, `fallbacks` what failed before in a chain, `usage` the tokens that a server
    counted. Language models have no `token_ids` and no `score`; `tokens` is None if the server did not count.
    """

    text: str
    token_ids: tuple[int, ...] | None
    tokens: int | None
    score: float | None
    truncated: bool
    backend: str = ONNX
    fallbacks: tuple[Fallback, ...] = ()
    usage: Usage | None = None


class SummarizerBackend(BatchBackend[str, SummarizeOptions, Summary], Protocol):
    """A model that summarizes texts; it joins the messages of an input to one text."""

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens to which inputs are truncated; None if it is unknown."""

    @property
    def short_options(self) -> SummarizeOptions:
        """Options with which a summary of one short text takes little time."""


class Summarizer(Handle[SummarizerBackend]):
    """An open summarization model. Thread-safe; the first call loads the graph."""

    task = Task.SUMMARIZATION

    def summarize(self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None) -> list[Summary]:
        """Summarize inputs; the result has their order.

        :param inputs: lists of messages; the messages of each are joined with the manifest's separator.
        :raises ConfigError: if an option is out of its range.
        :raises InputError: with the index of the first invalid input; then nothing was run.
        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises OverloadedError: if too many calls wait for the model; nothing was run then.
        :raises InferenceError: if ONNX Runtime fails.
        """
        options = _checked(inputs, options)
        return all_results(self._slot, inputs, options, self._watch(options))

    def summarize_each(
        self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None
    ) -> list[Summary | OnnxMlBridgeError]:
        """Summarize inputs and return the summary or the error of each: an invalid input does not lose the others.

        A call that is stopped keeps the summaries that are ready.

        :raises OnnxMlBridgeError: for an error of all inputs, such as an invalid option.
        """
        options = _checked(inputs, options)
        return each_result(self._slot, inputs, options, self._watch(options))

    def self_test(self) -> None:
        """Summarize a short text with the smallest number of generated tokens; any error is raised."""
        self.summarize([[_SELF_TEST_TEXT]], self.backend.short_options)


def _checked(inputs: Sequence[Sequence[str]], options: SummarizeOptions | None) -> SummarizeOptions:
    options = SummarizeOptions() if options is None else options
    check_options(options, SummarizeOptions)
    check_list(inputs, "a list of lists of messages")
    return options
