"""Named entities from an artifact of a token classifier, as the transformers pipeline finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import ConfigError, InferenceError, InputError
from ...artifacts.families.token_classification import TokenClassificationSpec
from ...artifacts.ner import NER, STRATEGIES
from ..batching import DEFAULT_TOKEN_BUDGET, plan_batches
from ..entities import Entities, Found, NerOptions, resolve
from ..graph_model import GraphModel, check_limits, encoder_feeds, graph_model
from ..loading import AUTO, OpenArtifact, open_artifact
from ..tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer, check_text
from .aggregation import Labels, ScoredTokens, aggregate, merge_windows, softmax
from .windows import TextWindows, Window, WindowTokenizer

# Texts are tokenized in portions of at most this many, or of one text that has more characters than these, so that
# memory stays bounded however many there are.
_PORTION_TEXTS = 1024
_PORTION_CHARACTERS = 1 << 20
_OUTPUT = "logits"


TokenClassifierModel = GraphModel[TokenClassificationSpec]


def token_classifier_model(opened: OpenArtifact[TextTokenizer]) -> TokenClassifierModel:
    """The parts of a checked artifact."""
    spec = opened.artifact.manifest.section(TokenClassificationSpec)
    return graph_model(opened, "token_classifier", spec)


class TokenClassifier:
    """One variant of a token classifier, a `Recognizer`. Thread-safe; the graph is loaded by the first call."""

    def __init__(
        self,
        model: TokenClassifierModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> None:
        """Wrap a model; no graph is loaded yet.

        :param threads: threads of one run; by default the CPUs that affinity and cgroup leave to the process.
        :param token_budget: padded tokens of one run.
        :param text_limit: bytes of UTF-8 above which a text is refused.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self.name, self.version, self.variant = model.name, model.version, model.variant
        self._token_budget = token_budget
        self._text_limit = text_limit
        self._labels = Labels(model.spec)
        self._windows = WindowTokenizer(model.tokenizer, model.spec)
        self._session = model.session(threads)

    @classmethod
    def open(
        cls,
        root: str | Path,
        variant: str = AUTO,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> TokenClassifier:
        """Check the artifact at `root` and wrap one of its variants; the options are the constructor's."""
        model = token_classifier_model(open_artifact(root, variant, task=NER))
        return cls(model, threads=threads, token_budget=token_budget, text_limit=text_limit)

    def load(self) -> None:
        """Load the graph now instead of at the first call."""
        self._session.load()

    def check(self, options: NerOptions) -> None:
        """Raise `ConfigError` for a strategy or stride that no text could be read with, `InputError` for sentences."""
        if options.sentence_starts is not None:
            raise InputError("sentence_starts", f"{self.name} reads texts without sentence starts", expected="none")
        strategy, stride = self._settings(options)
        if strategy not in STRATEGIES:
            raise ConfigError("aggregation_strategy", expected=" or ".join(STRATEGIES), got=repr(strategy))
        if stride is None:
            return
        room = self.model.tokenizer.room
        if type(stride) is not int or not 0 <= stride < room:
            raise ConfigError("stride", expected=f"0 to {room - 1} tokens", got=repr(stride))
        if strategy == "none":
            raise ConfigError(
                "stride", expected="none with the aggregation strategy none, which has nothing to merge", got=stride
            )

    def self_test(self) -> None:
        """Run a short text, or raise what is wrong."""
        self.recognize(["Health check in Paris."])

    def recognize(self, texts: Sequence[str], options: NerOptions | None = None) -> list[Entities]:
        """Entities of every text, in the order of the texts.

        :raises InputError: for a text that cannot be read; nothing was computed then.
        """
        options = options or NerOptions()
        self.check(options)
        if isinstance(texts, (str, bytes)):
            raise InputError("input_type", "a single text where a list was expected", got=type(texts).__name__)
        checked = [check_text(text, index, self._text_limit) for index, text in enumerate(texts)]
        strategy, stride = self._settings(options)
        return [entities for chunk in _portions(checked) for entities in self._read(chunk, strategy, stride)]

    def _settings(self, options: NerOptions) -> tuple[str, int | None]:
        spec = self.model.spec
        strategy, stride = options.aggregation_strategy, options.stride
        return spec.aggregation_strategy if strategy is None else strategy, spec.stride if stride is None else stride

    def _read(self, texts: list[str], strategy: str, stride: int | None) -> Iterator[Entities]:
        cut = self._windows.cut(texts, stride)
        found = iter(self._find([window for text in cut for window in text.windows], strategy))
        for text, windows in zip(texts, cut, strict=True):
            yield Entities(resolve(text, _of_text(windows, found)), windows.tokens, windows.truncated)

    def _find(self, windows: list[Window], strategy: str) -> list[list[Found]]:
        """The entities of every window; batches go over all windows, so that those of one length meet."""
        found: list[list[Found]] = [[] for _ in windows]
        filled = [position for position, window in enumerate(windows) if len(window.scored)]
        for batch in plan_batches([len(windows[position].ids) for position in filled], self._token_budget):
            indices = [filled[index] for index in batch]
            for position, entities in zip(
                indices, self._run([windows[position] for position in indices], strategy), strict=True
            ):
                found[position] = entities
        return found

    def _run(self, batch: list[Window], strategy: str) -> Iterator[list[Found]]:
        ids, mask = self.model.tokenizer.pad(batch)
        (logits,) = self._session.run([_OUTPUT], encoder_feeds(self.model.graph, ids, mask))
        self._check_logits(logits, ids.shape)
        rows = [row for row, window in enumerate(batch) for _ in window.scored]
        scored = logits[rows, np.concatenate([window.scored for window in batch])]
        items = aggregate(_tokens(batch, scored), strategy, self._labels)
        entities = self._labels.kept(items, grouped=strategy != "none")
        borders = [*np.flatnonzero(items.opens).tolist(), len(entities)]
        for start, end in pairwise(borders):
            yield [entity for entity in entities[start:end] if entity is not None]

    def _check_logits(self, logits: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        if logits.shape != (*shape, len(self.model.spec.labels)):
            raise InferenceError(f"{self.name} ({self.variant}) gave logits of shape {logits.shape}")
        if not np.isfinite(logits).all():
            raise InferenceError(f"{self.name} ({self.variant}) gave a value that is not finite")


def _tokens(batch: Sequence[Window], logits: NDArray[np.float32]) -> ScoredTokens:
    """The scored tokens of a batch, one window after the other; none of the windows may be empty."""
    opens = np.zeros(len(logits), np.bool_)
    opens[np.cumsum([0, *(len(window.scored) for window in batch[:-1])])] = True
    return ScoredTokens(
        softmax(logits),
        np.concatenate([window.starts for window in batch]),
        np.concatenate([window.ends for window in batch]),
        opens,
        np.concatenate([window.subwords for window in batch]),
    )


def _of_text(text: TextWindows, found: Iterator[list[Found]]) -> list[Found]:
    """Take the entities of a text's windows and make one list of them."""
    windows = [next(found) for _ in text.windows]
    return windows[0] if len(windows) == 1 else merge_windows(entity for entities in windows for entity in entities)


def _portions(texts: list[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        if chunk and (len(chunk) == _PORTION_TEXTS or characters + len(text) > _PORTION_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += len(text)
    if chunk:
        yield chunk
