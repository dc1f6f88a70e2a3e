"""Recognize named entities with an artifact of the family `spacy_ner`: `SpacyRecognizer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifacts.checks import Artifact
from ...artifacts.errors import ConfigError, InputError
from ...artifacts.families.spacy_ner import SPACY_NER, SpacyNetwork, SpacySpec
from ...artifacts.manifest import Graph
from .. import cpu
from ..cancellation import Stop, Watch
from ..devices import Devices
from ..entities import Entities, EntitySpan, entities_from_spans
from ..forking import call_after_fork
from ..graph_model import model_info
from ..handles.recognizer import RecognizeOptions, SentenceText
from ..lane import Lane, LaneOptions
from ..lane_call import Run
from ..loading import OpenArtifact
from ..meter import Meter
from ..options import DEFAULT_TEXT_LIMIT, ModelInfo, check_limits
from ..session import GraphSession
from ..tokenizer import check_text
from .decoding import OUTPUTS, EntityDecoder, Span
from .lexicon import Lexicon
from .network_runner import RUN_TOKENS, DocumentSlice, NetworkRunner, slices_of
from .parser import SentenceParser
from .rules import Rules, read_rules
from .tables import Tables, read_tables
from .tokenizer import Document, RuleTokenizer

# Maximum number of runs at the same time, if the model has no `workers`.
_MAX_WORKERS = 4
# If the lexicon exceeds one of these limits, it is replaced by an empty lexicon before the next text.
_MAX_LEXEMES = 500_000
_MAX_CHARACTERS = 50_000_000


@dataclass(frozen=True)
class SpacyPreprocessor:
    """The tokenizer rules and the lookup tables of a pipeline, which turn texts into the graphs' inputs."""

    rules: Rules
    tables: Tables


def load_preprocessor(artifact: Artifact) -> SpacyPreprocessor:
    """Read the rules and tables of an artifact.

    :raises ArtifactError: with the code `tokenizer` if a file is invalid.
    """
    spec = artifact.manifest.section(SpacySpec)
    return SpacyPreprocessor(read_rules(artifact.path(spec.rules)), read_tables(artifact.path(spec.tables), spec))


@dataclass(frozen=True)
class SpacyModel:
    """One variant of a spaCy pipeline.

    `root` is the folder of the artifact or of the staged model; `graphs` maps roles to graphs.
    """

    root: Path
    name: str
    version: str
    variant: str
    graphs: dict[str, Graph]
    spec: SpacySpec
    preprocessor: SpacyPreprocessor
    identity: str | None = None
    devices: Devices = field(default_factory=Devices)

    @classmethod
    def of(cls, opened: OpenArtifact[SpacyPreprocessor]) -> SpacyModel:
        """Return the model of the chosen variant of a checked artifact."""
        manifest = opened.artifact.manifest
        graphs, spec = manifest.variants[opened.variant].graphs, manifest.section(SpacySpec)
        artifact, name, version = opened.artifact, manifest.name, manifest.version
        model = cls(artifact.root, name, version, opened.variant, graphs, spec, opened.preprocessor, artifact.identity)
        return replace(model, devices=opened.devices)


class SpacyRecognizer:
    """The entity recognizer of a spaCy pipeline, a `RecognizerBackend`."""

    def __init__(
        self,
        model: SpacyModel,
        *,
        threads: int | None = None,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graphs.

        :param threads: threads of one call; None uses all CPUs this process may use.
        :param text_limit: maximum size of a text in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, text_limit=text_limit)
        self.model = model
        self._text_limit = text_limit
        self._run_tokens = lane.run_tokens if lane else None
        # Each run uses one thread, because its matrix products are too small to divide among threads; batches of a call
        # run in parallel instead.
        workers = min(threads or cpu.usable_cpus(), _MAX_WORKERS)
        self._meter = Meter(model.name, model.version)
        self.lane = Lane(lane, workers=workers, meter=self._meter)
        spec = model.spec
        self.requires_sentence_starts = spec.sentences == "given"
        self._ner = self._runner("spacy_ner", spec.ner, OUTPUTS)
        self._parser = None
        if spec.parser is not None and model.preprocessor.tables.parser is not None:
            runner = self._runner("spacy_parser", spec.parser, ["features"])
            self._parser = SentenceParser(runner, spec.parser, model.preprocessor.tables.parser)
        self._tokenizer: tuple[Lexicon, RuleTokenizer] | None = self._new_tokenizer()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Forget the lexicon in a child process: another thread may have been adding a lexeme during the fork."""
        self._tokenizer = None

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return model_info(SPACY_NER, self.model)

    def load(self) -> None:
        """Load the graphs now instead of in the first call."""
        for part in self._parts():
            part.load()

    def unload(self) -> None:
        """Free the graphs; the next call loads them again."""
        for part in self._parts():
            part.unload()

    def _parts(self) -> list[NetworkRunner | SentenceParser]:
        return [self._ner] if self._parser is None else [self._ner, self._parser]

    def check(self, options: RecognizeOptions) -> None:
        """Check the options of a call without running the model.

        :raises ConfigError: for an aggregation strategy or a stride, which spaCy models do not have.
        :raises InputError: with the code `sentence_starts` if they are missing, or given to a model that accepts none.
        """
        for name, value in (("aggregation_strategy", options.aggregation_strategy), ("stride", options.stride)):
            if value is not None:
                raise ConfigError(name, expected="none for a spaCy model", actual=value)
        required = self.requires_sentence_starts
        if required != (options.sentence_starts is not None):
            what = "the model requires sentence starts" if required else "the model does not accept sentence starts"
            raise InputError("sentence_starts", what, actual=f"spacy.sentences = {self.model.spec.sentences}")

    def prepare(self, value: object, index: int, options: RecognizeOptions) -> SentenceText:
        """Return a text and its sentence starts if it can be tokenized, and raise `InputError` otherwise."""
        starts = options.sentence_starts
        return SentenceText(check_text(value, index, self._text_limit), None if starts is None else starts[index])

    def results(
        self, inputs: Sequence[SentenceText], options: RecognizeOptions, watch: Watch
    ) -> Iterator[tuple[int, Entities]]:
        """Yield the index and the entities of every text, in their order."""
        with self.lane.call(watch) as call:
            batches = _batches(self._tokenized(inputs, watch), self._run_tokens or RUN_TOKENS)
            runs = (Run([batch], self._recognize_batches) for batch in batches)
            found = call.in_order(runs, self.lane.workers)
            yield from enumerate(entities for batch in found for entities in batch[0])

    def _recognize_batches(self, batches: Sequence[_Batch], stop: Stop) -> list[list[Entities]]:
        return [self._recognize_batch(batch, stop) for batch in batches]

    def _recognize_batch(self, batch: _Batch, stop: Stop) -> list[Entities]:
        starts = self._sentence_starts(batch, stop)
        is_last = [_last_tokens(document, tokens) for document, tokens in zip(batch.documents, starts, strict=True)]
        spans = self._spans(batch.documents, is_last, stop)
        return [
            self._entities(each.text, document, found)
            for each, document, found in zip(batch.texts, batch.documents, spans, strict=True)
        ]

    def tokenize(self, text: str) -> Document:
        """Tokenize a text as `recognize` does; tests compare these tokens with those of spaCy."""
        return self._current_tokenizer()(check_text(text, None, self._text_limit))

    def _runner(self, role: str, network: SpacyNetwork, outputs: Sequence[str]) -> NetworkRunner:
        types, tokens = (
            GraphSession(self.model.root / self.model.graphs[name].file, 1, self.model.devices, meter=self._meter)
            for name in (f"{role}_types", role)
        )
        return NetworkRunner(types, tokens, network, outputs)

    def _new_tokenizer(self) -> tuple[Lexicon, RuleTokenizer]:
        preprocessor, spec = self.model.preprocessor, self.model.spec
        networks = [spec.ner, *([spec.parser] if spec.parser else [])]
        lexicon = Lexicon(preprocessor.rules, preprocessor.tables, networks)
        return lexicon, RuleTokenizer(preprocessor.rules, lexicon)

    def _current_tokenizer(self) -> RuleTokenizer:
        current = self._tokenizer
        if current is None or _is_full(current[0]):
            current = self._new_tokenizer()  # other threads may still use the old lexicon through its documents
            self._tokenizer = current
        return current[1]

    def _tokenized(self, texts: Iterable[SentenceText], watch: Watch) -> Iterator[tuple[SentenceText, Document]]:
        for each in texts:
            watch.check()
            yield each, self._current_tokenizer()(each.text)

    def _sentence_starts(self, batch: _Batch, stop: Stop) -> Sequence[Sequence[int]]:
        """Return, for each document, the indices of the tokens that start a sentence."""
        if self._parser is not None:
            return self._parser.sentence_starts(batch.documents, stop)
        return [
            _starting_tokens(document, text.starts, index) if self.requires_sentence_starts else ()
            for index, (text, document) in enumerate(zip(batch.texts, batch.documents, strict=True), batch.first)
        ]

    def _spans(
        self, documents: Sequence[Document], is_last: Sequence[NDArray[np.bool_]], stop: Stop
    ) -> list[list[Span]]:
        """Return the entities of each document as spans of tokens; `is_last` holds the arrays of `_last_tokens`."""
        decoders = [EntityDecoder(self.model.spec.ner, self.model.preprocessor.tables) for _ in documents]
        if len(documents) == 1:
            for part in slices_of(documents[0]):
                (outputs,) = self._ner.run([part], stop, is_last)
                decoders[0].feed(outputs, is_last[0][part.start : part.end])
        elif filled := [index for index, document in enumerate(documents) if len(document)]:
            slices = [DocumentSlice(documents[index], 0, len(documents[index])) for index in filled]
            answers = self._ner.run(slices, stop, [is_last[index] for index in filled])
            for index, outputs in zip(filled, answers, strict=True):
                decoders[index].feed(outputs, is_last[index])
        return [decoder.spans for decoder in decoders]

    def _entities(self, text: str, document: Document, spans: list[Span]) -> Entities:
        """Return the entities of a text, given as spans of tokens."""
        labels = self.model.spec.labels
        entities = [
            EntitySpan(int(document.starts[start]), document.end(end - 1), labels[label]) for start, end, label in spans
        ]
        return Entities(entities_from_spans(text, entities), len(document), False)


@dataclass(frozen=True)
class _Batch:
    """Consecutive texts of a call that are run together; `first` is the index of the batch's first text in the call."""

    first: int
    texts: list[SentenceText]
    documents: list[Document]


def _is_full(lexicon: Lexicon) -> bool:
    return len(lexicon) > _MAX_LEXEMES or lexicon.total_characters > _MAX_CHARACTERS


def _batches(tokenized: Iterable[tuple[SentenceText, Document]], run_tokens: int) -> Iterator[_Batch]:
    """Collect documents with the same lexicon into batches of at most `run_tokens` tokens.

    A longer document is a batch by itself.
    """
    batch, tokens = _Batch(0, [], []), 0
    for index, (text, document) in enumerate(tokenized):
        is_other = bool(batch.documents) and document.lexicon is not batch.documents[0].lexicon
        if batch.documents and (is_other or tokens + len(document) > run_tokens):
            yield batch
            batch, tokens = _Batch(index, [], []), 0
        batch.texts.append(text)
        batch.documents.append(document)
        tokens += len(document)
    if batch.documents:
        yield batch


def _last_tokens(document: Document, starts: Sequence[int]) -> NDArray[np.bool_]:
    """Return which tokens end the document or a sentence, bool `[tokens]`; sentences start at the tokens `starts`."""
    is_last = np.zeros(len(document), np.bool_)
    if len(document):
        is_last[-1] = True
        is_last[[start - 1 for start in starts if start > 0]] = True
    return is_last


def _starting_tokens(document: Document, offsets: Sequence[int] | None, index: int) -> list[int]:
    """Return the indices of the tokens that start at the given offsets in characters.

    :param index: the index of the text in the call, for the error.
    :raises InputError: with the code `sentence_starts` if no token starts at an offset.
    """
    if not isinstance(offsets, Iterable):
        raise InputError("sentence_starts", "not a list of offsets", index=index, actual=repr(offsets))
    token_at = {start: token for token, start in enumerate(document.starts.tolist())}
    required = list(offsets)
    if wrong := [offset for offset in required if not _is_integer(offset) or offset not in token_at]:
        raise InputError(
            "sentence_starts",
            f"no token starts at character {wrong[0]!r}",
            index=index,
            expected="offsets at which a token starts",
        )
    return [token_at[offset] for offset in required]


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
