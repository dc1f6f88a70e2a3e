"""Summarize texts with an artifact of the family `summarization`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import ConfigError, DeviceError, InferenceError, InputError
from ...artifacts.families.summarization import SUMMARIZATION, GenerationDefaults, SummarizationSpec
from ..batching import plan_even_batches
from ..cancellation import Stop, Watch
from ..chunks import is_whitespace, split_into_chunks
from ..graph_model import GraphModel, graph_model
from ..handles.summarizer import SummarizeOptions, Summarizer, Summary
from ..lane import LaneOptions
from ..lane_call import Call, Run
from ..loading import OpenArtifact
from ..options import DEFAULT_BEAM_LIMIT, DEFAULT_TEXT_LIMIT, ModelInfo, check_limits
from ..tokenizer import TextTokenizer, Tokens, check_text
from .settings import options_of, resolve_settings

# Maximum number of padded source tokens of one run.
DEFAULT_SOURCE_BUDGET = 2048
_OUTPUTS = ("sequences", "sequences_scores")
_CRASHES_WITH_INT8 = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
# The tokenizers library stores token ids in 32 bits.
_MAX_IDS = 1 << 32
# The maximum number of searches at the same time, if the options have none: each reads all weights for every token, and
# its caches need hundreds of megabytes.
_MAX_SEARCHES = 2


# The index of an input in the call, and the summary of this input.
_IndexedSummary = tuple[int, Summary]
# A function that summarizes tokenized texts; the flag tells that they are the last ones of the call.
_Run = Callable[[list[Tokens], bool], Iterator[_IndexedSummary]]
SummarizationModel = GraphModel[SummarizationSpec, TextTokenizer]


def summarization_model(opened: OpenArtifact[TextTokenizer]) -> SummarizationModel:
    """Return the model of the chosen variant of a checked artifact."""
    return graph_model(opened, "generate", opened.artifact.manifest.section(SummarizationSpec))


def _check_device(model: SummarizationModel) -> None:
    """Refuse what ends the process: ONNX Runtime 1.31 crashes when it loads an int8 summarizer on a GPU of NVIDIA.

    :raises DeviceError: for such a model.
    """
    for device in model.devices.chosen:
        if model.variant == "int8" and device.provider in _CRASHES_WITH_INT8:
            reason = "ONNX Runtime crashes with the int8 graph of a summarizer there, use fp32"
            raise DeviceError(device.name, reason, available=["cpu"])


class BeamSearchSummarizer:
    """One variant of a summarization model, a `SummarizerBackend`."""

    def __init__(
        self,
        model: SummarizationModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_SOURCE_BUDGET,
        beam_limit: int = DEFAULT_BEAM_LIMIT,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of the model; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded source tokens of one run; a single text may have more.
        :param beam_limit: maximum of texts x `num_beams` x `max_length` of one run. Options that exceed it for a
            single text raise `ConfigError`.
        :param text_limit: maximum size of an input, its messages joined, in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, token_budget=token_budget, beam_limit=beam_limit, text_limit=text_limit)
        _check_device(model)
        self.model = model
        self._token_budget = token_budget
        self._beam_limit = beam_limit
        self._text_limit = text_limit
        # The beams of a run need much more memory than its inputs show
        self._session = model.session(threads, shrink_above=0)
        self.lane = model.lane(lane, self._session, _MAX_SEARCHES)
        self.max_tokens = model.tokenizer.spec.max_tokens
        self.load, self.unload = self._session.load, self._session.unload

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info(SUMMARIZATION)

    @property
    def short_options(self) -> SummarizeOptions:
        """Options that generate the smallest number of tokens."""
        return SummarizeOptions(num_beams=1, min_length=0, max_length=2)

    def check(self, options: SummarizeOptions) -> None:
        """Raise `ConfigError` if an option is out of its range, or is for language models."""
        for name in ("prompt", "temperature", "seed", "on_token"):
            if getattr(options, name) is not None:
                raise ConfigError(name, expected="None, because the model is an ONNX artifact", actual="a value")
        resolve_settings(options, self.model.spec, self._beam_limit)

    def results(self, inputs: Sequence[str], options: SummarizeOptions, watch: Watch) -> Iterator[_IndexedSummary]:
        """Yield the index and the summary of every text."""
        settings = resolve_settings(options, self.model.spec, self._beam_limit)
        with self.lane.call(watch) as lane_call:
            run = partial(self._run, settings, lane_call)
            call = _Call(self.model, run, watch, options.progress)
            yield from call.reduced(inputs) if options.map_reduce else call.summaries(inputs, is_last=True)

    def prepare(self, value: object, index: int, options: SummarizeOptions) -> str:
        """Check the messages of one input and join them to one text; raises `InputError` for an invalid input."""
        messages = value
        if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
            raise InputError(
                "input_type",
                "not a list of messages",
                index=index,
                expected="a list of strings",
                actual=type(messages).__name__,
            )
        checked = [check_text(message, index, self._text_limit) for message in messages]
        text = check_text(self.model.spec.join.join(checked), index, self._text_limit)
        if is_whitespace("".join(checked)):
            raise InputError(
                "empty_input", "nothing to summarize", index=index, expected="a message that is not only whitespace"
            )
        return text

    def _run(
        self, settings: GenerationDefaults, call: Call, encoded: list[Tokens], is_last: bool
    ) -> Iterator[_IndexedSummary]:
        """Yield the summary of each text with its index, batch by batch."""
        max_texts = self._beam_limit // (settings.num_beams * settings.max_length)
        lengths = [len(tokens.ids) for tokens in encoded]
        batches = plan_even_batches(lengths, self._token_budget, max_texts, self.lane.workers)
        generate = partial(self._generate, settings)
        runs = [Run([encoded[index] for index in batch], generate) for batch in batches]
        for number, answers in call.run(runs, is_last=is_last):
            for index, (row, score) in zip(batches[number], answers, strict=True):
                yield index, self._summary(row, score, truncated=encoded[index].truncated)

    def _generate(
        self, settings: GenerationDefaults, encoded: Sequence[Tokens], stop: Stop
    ) -> list[tuple[NDArray[np.int64], float]]:
        """Run texts of one call and return the sequence and the score of each."""
        ids, mask = self.model.tokenizer.pad(encoded)
        feeds = {"input_ids": ids, "attention_mask": mask, **_settings_feeds(settings)}
        sequences, scores = self._session.run(_OUTPUTS, feeds, stop)
        self._check_outputs(sequences, scores, len(encoded))
        return list(zip(sequences, scores.tolist(), strict=True))

    def _summary(self, row: NDArray[np.int64], score: float, *, truncated: bool) -> Summary:
        ids = token_ids(row, self.model.spec.eos_token_id, self.model.tokenizer.spec.pad_token_id)
        return Summary(self.model.tokenizer.decode(ids), ids, len(ids) - 1, score, truncated)

    def _check_outputs(self, sequences: NDArray[np.int64], scores: NDArray[np.float32], texts: int) -> None:
        """Raise `InferenceError` for outputs of invalid shapes or values."""
        who, start = f"{self.model.name} ({self.model.variant})", self.model.spec.decoder_start_token_id
        if sequences.ndim != 2 or len(sequences) != texts or not sequences.shape[1] or scores.shape != (texts,):
            raise InferenceError(
                f"{who} returned sequences of shape {sequences.shape} and scores of shape {scores.shape}"
            )
        if not np.isfinite(scores).all():
            raise InferenceError(f"{who} returned a score that is not finite")
        if (sequences[:, 0] != start).any() or (sequences < 0).any() or (sequences >= _MAX_IDS).any():
            raise InferenceError(
                f"{who} returned sequences that do not begin with {start}, or ids that are out of range"
            )


@dataclass
class _Shortened:
    """A text that is replaced by shorter texts until it fits the model.

    `was_truncated` tells whether a chunk was truncated, `can_shrink` whether the last replacement was shorter.
    """

    text: str
    tokens: int
    was_truncated: bool = False
    can_shrink: bool = True


@dataclass(frozen=True)
class _Call:
    """The state of one call to summarize; the function `run` summarizes a list of tokenized texts."""

    model: SummarizationModel
    run: _Run
    watch: Watch
    progress: Callable[[int, int], None] | None

    def summaries(self, texts: Sequence[str], *, is_last: bool) -> Iterator[_IndexedSummary]:
        """Yield the index and the summary of each text; texts that are too long are truncated.

        :param is_last: whether the call summarizes no further texts.
        """
        encoded = self.model.tokenizer.encode(texts, self.watch)
        for done, answer in enumerate(self.run(encoded, is_last), start=1):
            if self.progress is not None:
                self.progress(done, len(texts))
            yield answer

    def reduced(self, texts: Sequence[str]) -> Iterator[_IndexedSummary]:
        """Summarize texts without truncation: if a text is too long, the summaries of its chunks are summarized.

        In each round, the chunks of all texts that are still too long are summarized together.
        """
        shortened = [_Shortened(text, self._count(text)) for text in texts]
        while too_long := [each for each in shortened if each.can_shrink and each.tokens > self._max_tokens]:
            self._shorten(too_long)
        for index, summary in self.summaries([each.text for each in shortened], is_last=True):
            yield index, replace(summary, truncated=summary.truncated or shortened[index].was_truncated)

    @property
    def _max_tokens(self) -> int:
        return self.model.tokenizer.spec.max_tokens

    def _shorten(self, texts: Sequence[_Shortened]) -> None:
        """Replace each text by the joined summaries of its chunks."""
        chunks = [list(split_into_chunks(each.text, self._fits)) for each in texts]
        summaries = dict(self.summaries([*itertools.chain(*chunks)], is_last=False))
        in_order = (summaries[index] for index in range(len(summaries)))
        for each, own in zip(texts, chunks, strict=True):
            found = list(itertools.islice(in_order, len(own)))
            # A chunk is truncated if it is a single sentence that does not fit.
            each.was_truncated |= any(summary.truncated for summary in found)
            each.text = self.model.spec.join.join(summary.text for summary in found)
            before, each.tokens = each.tokens, self._count(each.text)
            each.can_shrink = each.tokens < before

    def _count(self, text: str) -> int:
        self.watch.check()
        return self.model.tokenizer.count(text)

    def _fits(self, text: str) -> bool:
        self.watch.check()
        (tokens,) = self.model.tokenizer.encode([text])
        return not tokens.truncated


def summarize_with_settings(
    summarizer: Summarizer, inputs: Sequence[Sequence[str]], settings: Sequence[GenerationDefaults]
) -> list[Summary]:
    """Summarize inputs with different settings, one for each input; inputs with equal settings share runs."""
    answers: dict[int, Summary] = {}
    for chosen in dict.fromkeys(settings):
        indices = [index for index, each in enumerate(settings) if each == chosen]
        summaries = summarizer.summarize([inputs[index] for index in indices], options_of(chosen))
        answers |= zip(indices, summaries, strict=True)
    return [answers[index] for index in range(len(inputs))]


def ids_of(summary: Summary) -> tuple[int, ...]:
    """Return the token ids of a summary by beam search."""
    assert summary.token_ids is not None
    return summary.token_ids


def score_of(summary: Summary) -> float:
    """Return the score of a summary by beam search."""
    assert summary.score is not None
    return summary.score


def token_ids(row: NDArray[np.int64], eos_token_id: int, pad_token_id: int) -> tuple[int, ...]:
    """Return the token ids of one row of the output `sequences`: up to the end token, or, without one, up to padding.

    :param row: int64 `[length]`; begins with the decoder's start token, which may have the same id as the end token.
    """
    ids: list[int] = row.tolist()
    if eos_token_id in ids[1:]:
        return tuple(ids[: ids.index(eos_token_id, 1) + 1])
    while len(ids) > 1 and ids[-1] == pad_token_id:
        ids.pop()
    return tuple(ids)


def _settings_feeds(settings: GenerationDefaults) -> dict[str, NDArray[np.generic]]:
    """Return the graph's inputs for the settings, each of shape `[1]`."""
    integers = {name: getattr(settings, name) for name in ("num_beams", "min_length", "max_length")}
    return {
        **{name: np.array([value], np.int64) for name, value in integers.items()},
        "length_penalty": np.array([settings.length_penalty], np.float32),
    }
