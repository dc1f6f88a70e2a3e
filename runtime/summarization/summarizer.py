"""Summarize texts with an artifact of the family `summarization`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError, InputError
from ...artifacts.families.summarization import SUMMARIZATION, GenerationDefaults, SummarizationSpec
from ..batching import plan_batches
from ..cancellation import Watch
from ..graph_model import GraphModel, check_limits, graph_model
from ..loading import AUTO, OpenArtifact, open_artifact
from ..tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer, Tokens, check_text
from .chunks import is_whitespace, split_into_chunks
from .summarize_options import SummarizeOptions, options_of, resolve_settings

# Maximum number of token positions in all beams of one run: texts x num_beams x max_length. Bounds the memory of a run.
DEFAULT_BEAM_LIMIT = 8192
# Maximum number of padded source tokens of one run.
DEFAULT_SOURCE_BUDGET = 2048
_OUTPUTS = ("sequences", "sequences_scores")
# The tokenizers library stores token ids in 32 bits.
_MAX_IDS = 1 << 32
_SELF_TEST = SummarizeOptions(num_beams=1, min_length=0, max_length=2)


@dataclass(frozen=True)
class Summary:
    """The summary of one input.

    `token_ids` includes the decoder's start token, `tokens` does not count it. `score` is the score of the best beam;
    only scores of calls with the same settings are comparable. `truncated` is true if part of the input was not read.
    """

    text: str
    token_ids: tuple[int, ...]
    tokens: int
    score: float
    truncated: bool


# The index of an input in the call, and the summary of this input.
_IndexedSummary = tuple[int, Summary]
_Run = Callable[[list[Tokens], GenerationDefaults, Watch], Iterator[_IndexedSummary]]
SummarizationModel = GraphModel[SummarizationSpec, TextTokenizer]


def summarization_model(opened: OpenArtifact[TextTokenizer]) -> SummarizationModel:
    """Return the model of the chosen variant of a checked artifact."""
    return graph_model(opened, "generate", opened.artifact.manifest.section(SummarizationSpec))


class Summarizer:
    """One variant of a summarization model. Thread-safe; the first call loads the graph."""

    def __init__(
        self,
        model: SummarizationModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_SOURCE_BUDGET,
        beam_limit: int = DEFAULT_BEAM_LIMIT,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of one run; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded source tokens of one run; a single text may have more.
        :param beam_limit: maximum of texts x `num_beams` x `max_length` of one run. Options that exceed it for a
            single text raise `ConfigError`.
        :param text_limit: maximum size of an input, its messages joined, in bytes of UTF-8.
        """
        check_limits(threads=threads, token_budget=token_budget, beam_limit=beam_limit, text_limit=text_limit)
        self.model = model
        self._token_budget = token_budget
        self._beam_limit = beam_limit
        self._text_limit = text_limit
        self._session = model.session(threads)

    @classmethod
    def open(
        cls,
        root: str | Path,
        variant: str = AUTO,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_SOURCE_BUDGET,
        beam_limit: int = DEFAULT_BEAM_LIMIT,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> Summarizer:
        """Check the artifact at `root` and create one of its variants; the other arguments are the constructor's."""
        model = summarization_model(open_artifact(root, variant, task=SUMMARIZATION.task))
        return cls(model, threads=threads, token_budget=token_budget, beam_limit=beam_limit, text_limit=text_limit)

    def load(self) -> None:
        """Load the graph now instead of in the first call."""
        self._session.load()

    def check(self, options: SummarizeOptions) -> None:
        """Raise `ConfigError` if an option is out of its range."""
        resolve_settings(options, self.model.spec, self._beam_limit)

    def self_test(self) -> None:
        """Run the model on a short text; any error is raised."""
        self.summarize_detailed([["health check"]], _SELF_TEST)

    def summarize(self, messages: Sequence[str]) -> str:
        """Summarize one list of messages, read as one text."""
        return self.summarize_batch([messages])[0]

    def summarize_batch(self, inputs: Sequence[Sequence[str]]) -> list[str]:
        """Summarize several lists of messages; the result has their order."""
        return [summary.text for summary in self.summarize_detailed(inputs)]

    def summarize_detailed(
        self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None
    ) -> list[Summary]:
        """Summarize several lists of messages; the result has their order.

        :param inputs: lists of messages; the messages of each are joined with the manifest's separator.
        :raises ConfigError: if an option is out of its range.
        :raises InputError: with the index of the first invalid input; then nothing was run.
        :raises StoppedError: if the call was cancelled or its timeout passed.
        """
        chosen = options or SummarizeOptions()
        settings = resolve_settings(chosen, self.model.spec, self._beam_limit)
        if isinstance(inputs, (str, bytes)):
            raise InputError(
                "input_type", "a single text where lists of messages were expected", actual=type(inputs).__name__
            )
        texts = [self._join(messages, index) for index, messages in enumerate(inputs)]
        with Watch(chosen.timeout, chosen.cancel) as watch:
            watch.check()
            call = _Call(self.model, settings, self._run, watch, chosen.progress)
            return call.reduced(texts) if chosen.map_reduce else call.summaries(texts)

    def _join(self, messages: Sequence[str], index: int) -> str:
        """Check the messages of one input and join them to one text."""
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

    def _run(self, encoded: list[Tokens], settings: GenerationDefaults, watch: Watch) -> Iterator[_IndexedSummary]:
        """Yield the summary of each text with its index, batch by batch."""
        max_texts = self._beam_limit // (settings.num_beams * settings.max_length)
        for batch in plan_batches([len(tokens.ids) for tokens in encoded], self._token_budget, max_texts):
            ids, mask = self.model.tokenizer.pad([encoded[index] for index in batch])
            feeds = {"input_ids": ids, "attention_mask": mask, **_settings_feeds(settings)}
            sequences, scores = self._session.run(_OUTPUTS, feeds, watch)
            self._check_outputs(sequences, scores, len(batch))
            for index, row, score in zip(batch, sequences, scores.tolist(), strict=True):
                yield index, self._summary(row, score, truncated=encoded[index].truncated)

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
    settings: GenerationDefaults
    run: _Run
    watch: Watch
    progress: Callable[[int, int], None] | None

    def summaries(self, texts: Sequence[str]) -> list[Summary]:
        """Summarize texts; those that are too long are truncated."""
        summaries: dict[int, Summary] = {}
        for index, summary in self.run(self.model.tokenizer.encode(texts), self.settings, self.watch):
            summaries[index] = summary
            if self.progress is not None:
                self.progress(len(summaries), len(texts))
        return [summaries[index] for index in range(len(texts))]

    def reduced(self, texts: Sequence[str]) -> list[Summary]:
        """Summarize texts without truncation: if a text is too long, the summaries of its chunks are summarized.

        In each round, the chunks of all texts that are still too long are summarized together.
        """
        shortened = [_Shortened(text, self._count(text)) for text in texts]
        while too_long := [each for each in shortened if each.can_shrink and each.tokens > self._max_tokens]:
            self._shorten(too_long)
        summaries = self.summaries([each.text for each in shortened])
        return [
            replace(summary, truncated=summary.truncated or each.was_truncated)
            for summary, each in zip(summaries, shortened, strict=True)
        ]

    @property
    def _max_tokens(self) -> int:
        return self.model.tokenizer.spec.max_tokens

    def _shorten(self, texts: Sequence[_Shortened]) -> None:
        """Replace each text by the joined summaries of its chunks."""
        chunks = [list(split_into_chunks(each.text, self._fits)) for each in texts]
        summaries = iter(self.summaries([*itertools.chain(*chunks)]))
        for each, own in zip(texts, chunks, strict=True):
            found = list(itertools.islice(summaries, len(own)))
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
        summaries = summarizer.summarize_detailed([inputs[index] for index in indices], options_of(chosen))
        answers |= zip(indices, summaries, strict=True)
    return [answers[index] for index in range(len(inputs))]


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
