"""Summaries from an artifact: one graph that encodes the text and searches for its summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from .chunks import is_whitespace, parts
from .summarize_options import SummarizeOptions, options_of, resolve_settings

# Places in the beams of one run, texts x beams x length: what the memory of a run grows with.
DEFAULT_BEAM_LIMIT = 8192
DEFAULT_SOURCE_BUDGET = 2048
_OUTPUTS = ("sequences", "sequences_scores")
# Token ids have 32 bits in the tokenizers library.
_MAX_IDS = 1 << 32
_SELF_TEST = SummarizeOptions(num_beams=1, min_length=0, max_length=2)


@dataclass(frozen=True)
class Summary:
    """The summary of one input.

    `token_ids` has the decoder's start token, `tokens` counts the others. `score` is that of the best beam, which
    scores of the same settings alone can be compared with. `truncated` says that a part of the input was not read.
    """

    text: str
    token_ids: tuple[int, ...]
    tokens: int
    score: float
    truncated: bool


_Found = tuple[int, Summary]
_Run = Callable[[list[Tokens], GenerationDefaults, Watch], Iterator[_Found]]


SummarizationModel = GraphModel[SummarizationSpec]


def summarization_model(opened: OpenArtifact[TextTokenizer]) -> SummarizationModel:
    """The parts of a checked artifact."""
    return graph_model(opened, "generate", opened.artifact.manifest.section(SummarizationSpec))


class Summarizer:
    """One variant of a summarization model. Thread-safe; the graph is loaded by the first call."""

    def __init__(
        self,
        model: SummarizationModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_SOURCE_BUDGET,
        beam_limit: int = DEFAULT_BEAM_LIMIT,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> None:
        """Wrap a model; nothing is loaded yet.

        :param threads: threads of one run; by default the CPUs that affinity and cgroup leave to the process.
        :param token_budget: padded tokens of the texts of one run; a single text may have more.
        :param beam_limit: texts x beams x `max_length` of one run; a call above it for a single text is refused.
        :param text_limit: bytes of UTF-8 above which an input, its messages joined, is refused.
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
        """Check the artifact at `root` and wrap one of its variants; the options are the constructor's."""
        model = summarization_model(open_artifact(root, variant, task=SUMMARIZATION.task))
        return cls(model, threads=threads, token_budget=token_budget, beam_limit=beam_limit, text_limit=text_limit)

    def load(self) -> None:
        """Load the graph now instead of at the first call."""
        self._session.load()

    def check(self, options: SummarizeOptions) -> None:
        """Raise `ConfigError` for options that no text could be summarized with."""
        resolve_settings(options, self.model.spec, self._beam_limit)

    def self_test(self) -> None:
        """Summarize a short text, or raise what is wrong."""
        self.summarize_detailed([["health check"]], _SELF_TEST)

    def summarize(self, messages: Sequence[str]) -> str:
        """The summary of messages that belong together."""
        return self.summarize_batch([messages])[0]

    def summarize_batch(self, inputs: Sequence[Sequence[str]]) -> list[str]:
        """The summary of every list of messages, in order."""
        return [summary.text for summary in self.summarize_detailed(inputs)]

    def summarize_detailed(
        self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None
    ) -> list[Summary]:
        """Summarize every list of messages.

        :raises ConfigError: for options out of their range.
        :raises InputError: with the index of the first input that is refused; nothing was computed then.
        :raises StoppedError: when the call was cancelled or took too long.
        """
        chosen = options or SummarizeOptions()
        settings = resolve_settings(chosen, self.model.spec, self._beam_limit)
        if isinstance(inputs, (str, bytes)):
            raise InputError(
                "input_type", "a single text where lists of messages were expected", got=type(inputs).__name__
            )
        texts = [self._join(messages, index) for index, messages in enumerate(inputs)]
        with Watch(chosen.timeout, chosen.cancel) as watch:
            watch.check()
            call = _Call(self.model, settings, self._run, watch, chosen.progress)
            return call.reduced(texts) if chosen.map_reduce else call.summaries(texts)

    def _join(self, messages: Sequence[str], index: int) -> str:
        if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
            raise InputError(
                "input_type",
                "not a list of messages",
                index=index,
                expected="a list of strings",
                got=type(messages).__name__,
            )
        checked = [check_text(message, index, self._text_limit) for message in messages]
        text = check_text(self.model.spec.join.join(checked), index, self._text_limit)
        if is_whitespace("".join(checked)):
            raise InputError("empty_input", "nothing to summarize", index=index, expected="a message that is not blank")
        return text

    def _run(self, encoded: list[Tokens], settings: GenerationDefaults, watch: Watch) -> Iterator[_Found]:
        """Yield the places of a batch with their summaries, as the batches come to their end."""
        most = self._beam_limit // (settings.num_beams * settings.max_length)
        for batch in plan_batches([len(tokens.ids) for tokens in encoded], self._token_budget, most):
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
        who, start = f"{self.model.name} ({self.model.variant})", self.model.spec.decoder_start_token_id
        if sequences.ndim != 2 or len(sequences) != texts or not sequences.shape[1] or scores.shape != (texts,):
            raise InferenceError(f"{who} gave sequences of shape {sequences.shape}, scores of shape {scores.shape}")
        if not np.isfinite(scores).all():
            raise InferenceError(f"{who} gave a score that is not finite")
        if (sequences[:, 0] != start).any() or (sequences < 0).any() or (sequences >= _MAX_IDS).any():
            raise InferenceError(f"{who} gave sequences that do not begin with {start}, or hold what is no token")


@dataclass(frozen=True)
class _Call:
    """One call's work: what the texts of all its rounds share."""

    model: SummarizationModel
    settings: GenerationDefaults
    run: _Run
    watch: Watch
    progress: Callable[[int, int], None] | None

    def summaries(self, texts: Sequence[str]) -> list[Summary]:
        """The summaries of texts that are read once, and cut if they are too long."""
        found: dict[int, Summary] = {}
        for index, summary in self.run(self.model.tokenizer.encode(texts), self.settings, self.watch):
            found[index] = summary
            if self.progress is not None:
                self.progress(len(found), len(texts))
        return [found[index] for index in range(len(texts))]

    def reduced(self, texts: Sequence[str]) -> list[Summary]:
        """The summaries of texts that are read whole: longer ones in parts, whose summaries are summarized in turn."""
        shortened = [self._shorten(text) for text in texts]
        found = self.summaries([text for text, _ in shortened])
        return [
            Summary(each.text, each.token_ids, each.tokens, each.score, each.truncated or was_cut)
            for each, (_, was_cut) in zip(found, shortened, strict=True)
        ]

    def _shorten(self, text: str) -> tuple[str, bool]:
        """A text that fits, or that summaries of parts make no shorter; and whether a sentence was cut on the way."""
        tokenizer, was_cut = self.model.tokenizer, False
        tokens = tokenizer.count(text)
        while tokens > tokenizer.spec.max_tokens:
            self.watch.check()
            found = self.summaries(list(parts(text, self._fits)))
            was_cut |= any(summary.truncated for summary in found)
            text = self.model.spec.join.join(summary.text for summary in found)
            before, tokens = tokens, tokenizer.count(text)
            if tokens >= before:
                break
        return text, was_cut

    def _fits(self, text: str) -> bool:
        self.watch.check()
        (tokens,) = self.model.tokenizer.encode([text])
        return not tokens.truncated


def summarize_with_settings(
    summarizer: Summarizer, inputs: Sequence[Sequence[str]], settings: Sequence[GenerationDefaults]
) -> list[Summary]:
    """Summaries of inputs that each have settings of their own; those of the same settings run together."""
    found: dict[int, Summary] = {}
    for chosen in dict.fromkeys(settings):
        indices = [index for index, each in enumerate(settings) if each == chosen]
        summaries = summarizer.summarize_detailed([inputs[index] for index in indices], options_of(chosen))
        found |= zip(indices, summaries, strict=True)
    return [found[index] for index in range(len(inputs))]


def token_ids(row: NDArray[np.int64], eos_token_id: int, pad_token_id: int) -> tuple[int, ...]:
    """The token ids of one sequence: up to the end token, or without padding where there is none.

    The first place is the decoder's start token, which may be the same as the end token.
    """
    ids: list[int] = row.tolist()
    if eos_token_id in ids[1:]:
        return tuple(ids[: ids.index(eos_token_id, 1) + 1])
    while len(ids) > 1 and ids[-1] == pad_token_id:
        ids.pop()
    return tuple(ids)


def _settings_feeds(settings: GenerationDefaults) -> dict[str, NDArray[np.generic]]:
    whole = {name: getattr(settings, name) for name in ("num_beams", "min_length", "max_length")}
    return {
        **{name: np.array([value], np.int64) for name, value in whole.items()},
        "length_penalty": np.array([settings.length_penalty], np.float32),
    }
