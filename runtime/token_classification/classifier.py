"""Recognize named entities with an artifact of the family `token_classification`, as transformers' pipeline does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import ConfigError, InferenceError, InputError
from ...artifacts.families.token_classification import TOKEN_CLASSIFICATION, TokenClassificationSpec
from ...artifacts.ner import STRATEGIES
from ..batching import DEFAULT_TOKEN_BUDGET, plan_batches
from ..cancellation import Stop, Watch
from ..entities import Entities, EntitySpan, entities_from_spans
from ..graph_model import GraphModel, encoder_feeds, graph_model
from ..handles.recognizer import RecognizeOptions, SentenceText
from ..lane import LaneOptions
from ..lane_call import Call, run_of
from ..loading import OpenArtifact
from ..options import DEFAULT_TEXT_LIMIT, ModelInfo, check_limits
from ..tokenizer import TextTokenizer, check_text
from .aggregation import Labels, ScoredTokens, aggregate, merge_windows, softmax
from .windows import TextWindows, Window, WindowTokenizer

# A list of texts is processed in blocks of at most this many texts and characters, so that the windows of all texts are
# never in memory at once. A single longer text is a block by itself.
_BLOCK_TEXTS = 1024
_BLOCK_CHARACTERS = 1 << 20
_OUTPUT = "logits"
TokenClassifierModel = GraphModel[TokenClassificationSpec, TextTokenizer]


def token_classifier_model(opened: OpenArtifact[TextTokenizer]) -> TokenClassifierModel:
    """Return the model of the chosen variant of a checked artifact."""
    spec = opened.artifact.manifest.section(TokenClassificationSpec)
    return graph_model(opened, "token_classifier", spec)


class TokenClassifier:
    """One variant of a token classification model, a `RecognizerBackend`."""

    requires_sentence_starts = False

    def __init__(
        self,
        model: TokenClassifierModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of the model; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded tokens of one run; see `plan_batches`.
        :param text_limit: maximum size of a text in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self._token_budget = token_budget
        self._text_limit = text_limit
        self._labels = Labels(model.spec)
        self._windows = WindowTokenizer(model.tokenizer, model.spec)
        self._session = model.session(threads)
        self.lane = model.lane(lane, self._session)
        self.load, self.unload = self._session.load, self._session.unload

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info(TOKEN_CLASSIFICATION)

    def check(self, options: RecognizeOptions) -> None:
        """Check the options of a call without running the model.

        :raises ConfigError: for an unknown aggregation strategy or an invalid stride.
        :raises InputError: with the code `sentence_starts` if they are given.
        """
        if options.sentence_starts is not None:
            raise InputError("sentence_starts", f"{self.model.name} does not accept sentence starts", expected="none")
        strategy, stride = self._settings(options)
        if strategy not in STRATEGIES:
            raise ConfigError("aggregation_strategy", expected=" or ".join(STRATEGIES), actual=repr(strategy))
        if stride is None:
            return
        limit = self.model.tokenizer.max_text_tokens
        if type(stride) is not int or not 0 <= stride < limit:
            raise ConfigError("stride", expected=f"0 to {limit - 1} tokens", actual=repr(stride))
        if strategy == "none":
            raise ConfigError(
                "stride", expected="none, because the aggregation strategy none cannot merge windows", actual=stride
            )

    def prepare(self, value: object, index: int, options: RecognizeOptions) -> SentenceText:
        """Return a text if it can be tokenized, and raise `InputError` otherwise."""
        return SentenceText(check_text(value, index, self._text_limit))

    def results(
        self, inputs: Sequence[SentenceText], options: RecognizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Entities]]:
        """Yield the index and the entities of each text as soon as all of its windows were run."""
        blocks, first = list(_blocks([each.text for each in inputs])), 0
        strategy, stride = self._settings(options)
        with self.lane.call(watch) as call:
            for number, block in enumerate(blocks, start=1):
                watch.check()
                windows = self._windows.tokenize(block, stride)
                pending = [_PendingText(text, each) for text, each in zip(block, windows, strict=True)]
                for index, entities in self._recognize_block(pending, strategy, call, number == len(blocks)):
                    yield first + index, entities
                first += len(block)

    def _settings(self, options: RecognizeOptions) -> tuple[str, int | None]:
        """Return the aggregation strategy and the stride: the options, or the manifest's defaults for None."""
        spec = self.model.spec
        strategy, stride = options.aggregation_strategy, options.stride
        return spec.aggregation_strategy if strategy is None else strategy, spec.stride if stride is None else stride

    def _recognize_block(
        self, pending: list[_PendingText], strategy: str, call: Call, is_last: bool
    ) -> Iterator[tuple[int, Entities]]:
        yield from ((index, each.entities()) for index, each in enumerate(pending) if not each.missing)
        # The windows to run, as the index of the text and the number of the window; a batch mixes windows of texts
        jobs = [(index, number) for index, each in enumerate(pending) for number in each.scored()]
        lengths = [len(pending[text].windows[number].ids) for text, number in jobs]
        budget = self._token_budget
        batches = [[jobs[each] for each in batch] for batch in plan_batches(lengths, budget)]
        windows = [[pending[text].windows[number] for text, number in batch] for batch in batches]
        runs = [run_of(each, self._logits, key=_OUTPUT, max_tokens=budget) for each in windows]
        for run, logits in call.run(runs, is_last=is_last):
            answers = self._spans(windows[run], np.concatenate(logits), strategy)
            for (text, number), spans in zip(batches[run], answers, strict=True):
                pending[text].add(number, spans)
                if not pending[text].missing:
                    yield text, pending[text].entities()

    def _logits(self, windows: Sequence[Window], stop: Stop) -> list[NDArray[np.float32]]:
        """Run windows, those of several calls among them; return the logits of the tokens to score of each.

        Each array is float32 `[tokens, labels]`.
        """
        ids, mask = self.model.tokenizer.pad(windows)
        (logits,) = self._session.run([_OUTPUT], encoder_feeds(self.model.graph, ids, mask), stop)
        self._check_logits(logits, ids.shape)
        return [row[window.scored] for row, window in zip(logits, windows, strict=True)]

    def _spans(
        self, windows: Sequence[Window], logits: NDArray[np.float32], strategy: str
    ) -> Iterator[list[EntitySpan]]:
        """Yield the entities of each window; every window must have a token to score."""
        items = aggregate(_tokens(windows, logits), strategy, self._labels)
        entities = self._labels.to_spans(items, grouped=strategy != "none")
        borders = [*np.flatnonzero(items.starts_window).tolist(), len(entities)]
        for start, end in pairwise(borders):
            yield [entity for entity in entities[start:end] if entity is not None]

    def _check_logits(self, logits: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        """Raise `InferenceError` for logits with an invalid shape or a value that is not finite."""
        expected = (*shape, len(self.model.spec.labels))
        if logits.shape != expected:
            raise InferenceError(
                f"{self.model.name} ({self.model.variant}) returned logits of shape {logits.shape}, expected {expected}"
            )
        if not np.isfinite(logits).all():
            raise InferenceError(f"{self.model.name} ({self.model.variant}) returned a value that is not finite")


class _PendingText:
    """A text and the entities of those of its windows that were run; `missing` is the number of the other windows."""

    def __init__(self, text: str, windows: TextWindows) -> None:
        self.windows = windows.windows
        self._text, self._tokens, self._truncated = text, windows.tokens, windows.truncated
        self._spans: list[list[EntitySpan]] = [[] for _ in self.windows]
        self.missing = len(self.scored())

    def scored(self) -> list[int]:
        """Return the numbers of the windows that have tokens to score."""
        return [number for number, window in enumerate(self.windows) if len(window.scored)]

    def add(self, number: int, spans: list[EntitySpan]) -> None:
        """Store the entities of a window."""
        self._spans[number] = spans
        self.missing -= 1

    def entities(self) -> Entities:
        """Return the merged entities of all windows."""
        if len(self._spans) == 1:
            merged = self._spans[0]
        else:
            merged = merge_windows(entity for spans in self._spans for entity in spans)
        return Entities(entities_from_spans(self._text, merged), self._tokens, self._truncated)


def _tokens(batch: Sequence[Window], logits: NDArray[np.float32]) -> ScoredTokens:
    """Return the tokens of a batch, one window after the other; `logits` is `[tokens, labels]`.

    Every window must have at least one token that is not a special token.
    """
    starts_window = np.zeros(len(logits), np.bool_)
    starts_window[np.cumsum([0, *(len(window.scored) for window in batch[:-1])])] = True
    return ScoredTokens(
        softmax(logits),
        np.concatenate([window.starts for window in batch]),
        np.concatenate([window.ends for window in batch]),
        starts_window,
        np.concatenate([window.subwords for window in batch]),
    )


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    """Split a list of texts into blocks within `_BLOCK_TEXTS` and `_BLOCK_CHARACTERS`."""
    block: list[str] = []
    characters = 0
    for text in texts:
        if block and (len(block) == _BLOCK_TEXTS or characters + len(text) > _BLOCK_CHARACTERS):
            yield block
            block, characters = [], 0
        block.append(text)
        characters += len(text)
    if block:
        yield block
