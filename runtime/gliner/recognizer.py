"""Recognize entities of any labels with an artifact of the family `gliner`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import ConfigError, InferenceError, InputError
from ...artifacts.families.gliner import GLINER, GlinerSpec
from ..batching import DEFAULT_TOKEN_BUDGET, plan_batches
from ..cancellation import Stop, Watch
from ..entities import Entities, EntitySpan, entities_from_spans
from ..graph_model import GraphModel, graph_model
from ..handles.recognizer import RecognizeOptions, SentenceText
from ..lane import LaneOptions
from ..lane_call import Call, run_of
from ..loading import OpenArtifact
from ..options import DEFAULT_TEXT_LIMIT, ModelInfo, check_limits
from ..tokenizer import check_text
from .decoding import Candidates, joined, search, span_candidates, token_candidates
from .preprocessor import GlinerPreprocessor, GlinerText, GlinerWindow, Prompt

# A list of texts is processed in blocks of at most this many texts and characters, so that the windows of all texts are
# never in memory at once. A single longer text is a block by itself.
_BLOCK_TEXTS = 256
_BLOCK_CHARACTERS = 1 << 19
_OUTPUT = "logits"
GlinerModel = GraphModel[GlinerSpec, GlinerPreprocessor]


def gliner_model(opened: OpenArtifact[GlinerPreprocessor]) -> GlinerModel:
    """Return the model of the chosen variant of a checked artifact."""
    return graph_model(opened, "entity_scorer", opened.artifact.manifest.section(GlinerSpec))


@dataclass(frozen=True)
class Settings:
    """The settings of a call: its options, or the defaults of the manifest. `labels` differ from each other."""

    labels: tuple[str, ...]
    threshold: float
    nested: bool
    multi_label: bool
    stride: int


class GlinerRecognizer:
    """One variant of a GLiNER model, a `RecognizerBackend` that takes labels."""

    requires_sentence_starts = False
    takes_labels = True

    def __init__(
        self,
        model: GlinerModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of the model; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded tokens of one run; see `plan_batches`.
        :param text_limit: maximum size of a text, and of all labels, in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self._preprocessor = model.tokenizer
        self._token_budget, self._text_limit = token_budget, text_limit
        self._session = model.session(threads)
        self.lane = model.lane(lane, self._session)
        self.load, self.unload = self._session.load, self._session.unload

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info(GLINER)

    def check(self, options: RecognizeOptions) -> None:
        """Check the options of a call without running the model.

        :raises ConfigError: for invalid labels, an invalid threshold or stride, or an aggregation strategy.
        :raises InputError: with the code `sentence_starts` if they are given.
        """
        if options.sentence_starts is not None:
            raise InputError("sentence_starts", f"{self.model.name} does not accept sentence starts", expected="none")
        if options.aggregation_strategy is not None:
            actual = repr(options.aggregation_strategy)
            raise ConfigError("aggregation_strategy", expected="none for a GLiNER model", actual=actual)
        self._preprocessor.prompt(self._settings(options).labels)

    def prepare(self, value: object, index: int, options: RecognizeOptions) -> SentenceText:
        """Return a text if it can be tokenized, and raise `InputError` otherwise."""
        return SentenceText(check_text(value, index, self._text_limit))

    def results(
        self, inputs: Sequence[SentenceText], options: RecognizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Entities]]:
        """Yield the index and the entities of each text as soon as all of its windows were run."""
        settings = self._settings(options)
        prompt = self._preprocessor.prompt(settings.labels)
        blocks, first = list(_blocks([each.text for each in inputs])), 0
        with self.lane.call(watch) as call:
            for number, block in enumerate(blocks, start=1):
                watch.check()
                texts = self._preprocessor.all_windows(block, prompt, settings.stride)
                pending = [_PendingText(text, each, settings) for text, each in zip(block, texts, strict=True)]
                for index, entities in self._recognize_block(pending, prompt, settings, call, number == len(blocks)):
                    yield first + index, entities
                first += len(block)

    def _settings(self, options: RecognizeOptions) -> Settings:
        """Return the settings of a call; raise `ConfigError` if one is invalid."""
        spec = self.model.spec
        labels = _checked_labels(spec.labels if options.labels is None else options.labels, self._text_limit)
        threshold = spec.threshold if options.threshold is None else options.threshold
        if type(threshold) not in (int, float) or not 0 <= threshold <= 1:  # NaN is in no range
            raise ConfigError("threshold", expected="a number from 0 to 1", actual=repr(threshold))
        stride = spec.stride if options.stride is None else options.stride
        if type(stride) is not int or not 0 <= stride < spec.max_words:
            raise ConfigError("stride", expected=f"0 to {spec.max_words - 1} words", actual=repr(stride))
        nested = _flag("nested", options.nested, spec.nested)
        multi_label = _flag("multi_label", options.multi_label, spec.multi_label)
        return Settings(labels, float(threshold), nested, multi_label, stride)

    def _recognize_block(
        self, pending: list[_PendingText], prompt: Prompt, settings: Settings, call: Call, is_last: bool
    ) -> Iterator[tuple[int, Entities]]:
        yield from ((index, each.entities()) for index, each in enumerate(pending) if not each.missing)
        # The windows to run, as the index of the text and the number of the window; a batch mixes windows of texts
        jobs = [(index, number) for index, each in enumerate(pending) for number in range(len(each.windows))]
        lengths = [len(pending[text].windows[number].ids) for text, number in jobs]
        budget = self._token_budget
        batches = [[jobs[each] for each in batch] for batch in plan_batches(lengths, budget)]
        windows = [[pending[text].windows[number] for text, number in batch] for batch in batches]
        # Windows of other calls can be in the same run if they have equally many labels
        key = (_OUTPUT, len(prompt.labels))
        runs = [run_of(each, self._logits, key=key, max_tokens=budget) for each in windows]
        for run, logits in call.run(runs, is_last=is_last):
            for (text, number), window, values in zip(batches[run], windows[run], logits, strict=True):
                pending[text].add(number, self._candidates(window, values, settings.threshold))
                if not pending[text].missing:
                    yield text, pending[text].entities()

    def _logits(self, windows: Sequence[GlinerWindow], stop: Stop) -> list[NDArray[np.float32]]:
        """Run windows, those of several calls among them; return the logits of the words of each."""
        feeds = self._preprocessor.feeds(windows)
        (logits,) = self._session.run([_OUTPUT], feeds, stop)
        rows, words = feeds["word_positions"].shape
        labels, width = feeds["label_positions"].shape[1], self.model.spec.max_width
        own = [row[: len(window.word_positions)] for row, window in zip(logits, windows, strict=False)]
        expected = (rows, words, labels, 3) if width is None else (rows, words, width, labels)
        self._check_logits(own, logits.shape, expected)
        return own

    def _check_logits(
        self, own: Sequence[NDArray[np.float32]], shape: tuple[int, ...], expected: tuple[int, ...]
    ) -> None:
        """Raise `InferenceError` for another shape, or if a value of a word is not finite."""
        name = f"{self.model.name} ({self.model.variant})"
        if shape != expected:
            raise InferenceError(f"{name} returned logits of shape {shape}, expected {expected}")
        if not all(np.isfinite(each).all() for each in own):
            raise InferenceError(f"{name} returned a value that is not finite")

    def _candidates(self, window: GlinerWindow, logits: NDArray[np.float32], threshold: float) -> Candidates:
        """Return the candidates that start at a word that the window owns, with indices of words in the text."""
        find = token_candidates if self.model.spec.max_width is None else span_candidates
        found = find(logits, threshold).shifted(window.words.start)
        is_own = (found.first >= window.words.own_start) & (found.first < window.words.own_end)
        return found.chosen(np.flatnonzero(is_own))


class _PendingText:
    """A text and the candidates of those of its windows that were run; `missing` is the number of the other windows."""

    def __init__(self, text: str, windows: GlinerText, settings: Settings) -> None:
        self.windows = windows.windows
        self.missing = len(self.windows)
        self._text, self._settings = text, settings
        self._words, self._tokens, self._truncated = windows.words, windows.tokens, windows.truncated
        self._candidates: list[Candidates | None] = [None] * self.missing

    def add(self, number: int, candidates: Candidates) -> None:
        """Store the candidates of a window."""
        self._candidates[number] = candidates
        self.missing -= 1

    def entities(self) -> Entities:
        """Return the entities of the text, which one search finds in the candidates of all windows."""
        settings = self._settings
        parts = [each for each in self._candidates if each is not None]
        found = search(joined(parts), len(self._words), nested=settings.nested, multi_label=settings.multi_label)
        rows = zip(found.first.tolist(), found.last.tolist(), found.label.tolist(), found.score.tolist(), strict=True)
        spans = [
            EntitySpan(int(self._words[first, 0]), int(self._words[last, 1]), settings.labels[label], score)
            for first, last, label, score in rows
        ]
        return Entities(entities_from_spans(self._text, spans), self._tokens, self._truncated)


def _checked_labels(labels: object, limit: int) -> tuple[str, ...]:
    """Return the labels without repetitions.

    :param limit: maximum size of all labels in bytes of UTF-8.
    """
    expected = "a list of strings, at least one"
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Sequence):
        raise ConfigError("labels", expected=expected, actual=type(labels).__name__)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise ConfigError("labels", expected=expected, actual=f"{list(labels)!r:.80}")
    try:
        size = sum(len(label.encode()) for label in labels)
    except UnicodeEncodeError as error:
        raise ConfigError("labels", expected="strings without lone surrogates", actual=repr(error.object)) from error
    if size > limit:
        raise ConfigError("labels", expected=f"at most {limit} bytes", actual=size)
    return tuple(dict.fromkeys(labels))


def _flag(name: str, value: object, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ConfigError(name, expected="True or False", actual=repr(value))
    return value


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
