"""The handle of models that recognize named entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...artifacts.errors import ConfigError, InputError, OnnxMlBridgeError
from ..cancellation import CancelToken
from ..entities import Entities
from ..options import Task
from .backend import BatchBackend
from .handle import Handle, all_results, check_list, check_options, each_result
from .request import counted_errors


@dataclass(frozen=True, kw_only=True)
class RecognizeOptions:
    """Options of one call; None selects the manifest's default.

    `aggregation_strategy`, how tokens are grouped to entities, is for token classifiers. `stride` is the overlap of
    consecutive windows of a long text: in tokens for token classifiers, in words for GLiNER. `sentence_starts` is for
    spaCy models whose manifest says `"sentences": "given"`: for each text, the offsets in characters at which its
    sentences start. `timeout` is the time limit in seconds; None uses the model's. `cancel` can stop the call from
    another thread.

    The other options are for GLiNER: `labels` are the labels to find, of which repetitions are ignored; `threshold` is
    the score that entities must exceed, from 0 to 1; `nested` allows entities inside of others; `multi_label` allows
    several labels for the same words.
    """

    aggregation_strategy: str | None = None
    stride: int | None = None
    sentence_starts: Sequence[Sequence[int]] | None = None
    labels: Sequence[str] | None = None
    threshold: float | None = None
    nested: bool | None = None
    multi_label: bool | None = None
    timeout: float | None = None
    cancel: CancelToken | None = None


@dataclass(frozen=True, slots=True)
class SentenceText:
    """A checked text, and the offsets in characters at which its sentences start, if the caller passed them."""

    text: str
    starts: Sequence[int] | None = None


class RecognizerBackend(BatchBackend[SentenceText, RecognizeOptions, Entities], Protocol):
    """A model that recognizes named entities."""

    @property
    def requires_sentence_starts(self) -> bool:
        """Whether every call must pass `sentence_starts`."""


@runtime_checkable
class LabeledBackend(Protocol):
    """A recognizer whose calls name the labels, as in `RecognizeOptions.labels`."""

    takes_labels: bool


# The options of models whose calls name the labels
LABEL_OPTIONS = ("labels", "threshold", "nested", "multi_label")


class Recognizer(Handle[RecognizerBackend]):
    """An open model for named entities. Thread-safe; the first call loads the graphs."""

    task = Task.NER

    def recognize(self, texts: Sequence[str], options: RecognizeOptions | None = None) -> list[Entities]:
        """Find the entities of texts; the result has their order.

        :raises ConfigError: if an option is out of its range, or is for another engine.
        :raises InputError: with the index of the first invalid text, or with the code `sentence_starts` if they are
            missing or not accepted; then no text was run.
        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises OverloadedError: if too many calls wait for the model; nothing was run then.
        :raises InferenceError: if ONNX Runtime fails.
        """
        options = self._checked(texts, options)
        return all_results(self._slot, texts, options, self._watch(options))

    def recognize_each(
        self, texts: Sequence[str], options: RecognizeOptions | None = None
    ) -> list[Entities | OnnxMlBridgeError]:
        """Find the entities of texts and return the entities or the error of each.

        An invalid text does not lose the others. A call that is stopped keeps the results that are ready.

        :raises OnnxMlBridgeError: for an error of all texts, such as an invalid option.
        """
        options = self._checked(texts, options)
        return each_result(self._slot, texts, options, self._watch(options))

    def self_test(self) -> None:
        """Find the entities of a short text; any error is raised."""
        starts = [[0]] if self.backend.requires_sentence_starts else None
        labels = ["location"] if isinstance(self.backend, LabeledBackend) else None
        self.recognize(["Health check in Paris."], RecognizeOptions(sentence_starts=starts, labels=labels))

    def _checked(self, texts: Sequence[str], options: RecognizeOptions | None) -> RecognizeOptions:
        options = RecognizeOptions() if options is None else options
        check_options(options, RecognizeOptions)
        check_list(texts)
        with counted_errors(self._slot.meter):
            self._check(texts, options)
        return options

    def _check(self, texts: Sequence[str], options: RecognizeOptions) -> None:
        starts = options.sentence_starts
        backend = self.backend
        for name in LABEL_OPTIONS:
            if getattr(options, name) is not None and not isinstance(backend, LabeledBackend):
                raise ConfigError(
                    name, expected="none: the labels of the model are fixed", actual=getattr(options, name)
                )
        backend.check(options)
        if starts is not None and len(starts) != len(texts):
            what = "the number of lists is not the number of texts"
            raise InputError("sentence_starts", what, expected=len(texts), actual=len(starts))
