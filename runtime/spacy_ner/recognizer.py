"""spaCy's entities from an artifact: `SpacyRecognizer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifacts.checks import Artifact
from ...artifacts.errors import ConfigError, InputError
from ...artifacts.families.spacy_ner import SpacyNetwork, SpacySpec
from ...artifacts.manifest import Graph
from ...artifacts.ner import NER
from .. import cpu
from ..batching import in_order
from ..entities import Entities, Found, NerOptions, resolve
from ..graph_model import check_limits
from ..loading import AUTO, OpenArtifact, open_artifact
from ..session import GraphSession
from ..tokenizer import DEFAULT_TEXT_LIMIT, check_text
from .decoding import OUTPUTS, EntityDecoder
from .lexicon import Lexicon
from .network_runner import RUN_TOKENS, DocumentSlice, NetworkRunner, slices_of
from .parser import SentenceParser
from .rules import Rules, read_rules
from .tables import Tables, read_tables
from .tokenizer import Document, RuleTokenizer

# A lexicon that has grown beyond this is replaced by an empty one between two texts.
_MAX_LEXEMES = 500_000
_MAX_CHARACTERS = 50_000_000


@dataclass(frozen=True)
class SpacyPreprocessor:
    """What turns texts into the graphs' inputs."""

    rules: Rules
    tables: Tables


def load_preprocessor(artifact: Artifact) -> SpacyPreprocessor:
    """Read an artifact's rules and tables, or raise `ArtifactError` with the code `tokenizer`."""
    spec = artifact.manifest.section(SpacySpec)
    return SpacyPreprocessor(read_rules(artifact.path(spec.rules)), read_tables(artifact.path(spec.tables), spec))


@dataclass(frozen=True)
class SpacyModel:
    """What a recognizer needs of one variant: the artifact's folder, the graphs in it by role, rules and tables."""

    root: Path
    name: str
    version: str
    variant: str
    graphs: dict[str, Graph]
    spec: SpacySpec
    preprocessor: SpacyPreprocessor

    @classmethod
    def of(cls, opened: OpenArtifact[SpacyPreprocessor]) -> SpacyModel:
        """The parts of a checked artifact."""
        manifest = opened.artifact.manifest
        graphs, spec = manifest.variants[opened.variant].graphs, manifest.section(SpacySpec)
        root = opened.artifact.root
        return cls(root, manifest.name, manifest.version, opened.variant, graphs, spec, opened.preprocessor)


class SpacyRecognizer:
    """A spaCy pipeline's entity recognizer without spaCy. Thread-safe; graphs are loaded by the first call."""

    def __init__(self, model: SpacyModel, *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT) -> None:
        """Wrap a model; nothing is loaded yet.

        :param threads: threads of one call; by default the CPUs that affinity and cgroup leave to the process.
        :param text_limit: bytes of UTF-8 above which a text is refused.
        """
        check_limits(threads=threads, text_limit=text_limit)
        self.name, self.version, self.variant = model.name, model.version, model.variant
        self.model = model
        self._text_limit = text_limit
        self._threads = threads or cpu.usable_cpus()
        spec = model.spec
        self._ner = self._runner("spacy_ner", spec.ner, OUTPUTS)
        self._parser = None
        if spec.parser is not None and model.preprocessor.tables.parser is not None:
            runner = self._runner("spacy_parser", spec.parser, ["features"])
            self._parser = SentenceParser(runner, spec.parser, model.preprocessor.tables.parser)
        self._tokenizer = self._new_tokenizer()

    @classmethod
    def open(
        cls,
        root: str | Path,
        variant: str = AUTO,
        *,
        threads: int | None = None,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> SpacyRecognizer:
        """Check the artifact at `root` and wrap one of its variants; the options are the constructor's."""
        model = SpacyModel.of(open_artifact(root, variant, task=NER))
        return cls(model, threads=threads, text_limit=text_limit)

    def load(self) -> None:
        """Load the graphs now instead of at the first call."""
        self._ner.load()
        if self._parser is not None:
            self._parser.load()

    def check(self, options: NerOptions) -> None:
        """Refuse options that this model does not have.

        :raises ConfigError: for an aggregation strategy or a stride.
        :raises InputError: with the code `sentence_starts` when they are missing or not wanted.
        """
        for name, value in (("aggregation_strategy", options.aggregation_strategy), ("stride", options.stride)):
            if value is not None:
                raise ConfigError(name, expected="none: the model is spaCy's", got=value)
        required = self.model.spec.sentences == "given"
        if required != (options.sentence_starts is not None):
            got = f"spacy.sentences = {self.model.spec.sentences}"
            what = (
                "the model wants the places where sentences start" if required else "the model takes no sentence starts"
            )
            raise InputError("sentence_starts", what, got=got)

    def self_test(self) -> None:
        """Run a short text, or raise what is wrong."""
        starts = [[0]] if self.model.spec.sentences == "given" else None
        self.recognize(["Health check in Paris."], NerOptions(sentence_starts=starts))

    def recognize(self, texts: Sequence[str], options: NerOptions) -> list[Entities]:
        """Entities of every text, in the order of the texts; see `Recognizer`."""
        self.check(options)
        if isinstance(texts, (str, bytes)):
            raise InputError("input_type", "a single text where a list was expected", got=type(texts).__name__)
        if options.sentence_starts is not None and len(options.sentence_starts) != len(texts):
            raise InputError(
                "sentence_starts", "not one list for each text", expected=len(texts), got=len(options.sentence_starts)
            )
        checked = [check_text(text, index, self._text_limit) for index, text in enumerate(texts)]
        groups = _groups(self._tokenized(checked))
        found = in_order(lambda group: self._recognize_group(group, options), groups, self._threads)
        return list(chain.from_iterable(found))

    def _recognize_group(self, group: _Group, options: NerOptions) -> list[Entities]:
        starts = self._sentence_starts(group.documents, options, group.first)
        is_last = [_last_tokens(document, found) for document, found in zip(group.documents, starts, strict=True)]
        spans = self._spans(group.documents, is_last)
        return [self._entities(*each) for each in zip(group.texts, group.documents, spans, strict=True)]

    def tokenize(self, text: str) -> Document:
        """The tokens of a text, for comparison with the original."""
        return self._current_tokenizer()(check_text(text, None, self._text_limit))

    def _runner(self, role: str, network: SpacyNetwork, outputs: Sequence[str]) -> NetworkRunner:
        # One thread each: the products are too small to be shared out, groups of texts run side by side instead
        types, tokens = (
            GraphSession(self.model.root / self.model.graphs[name].file, threads=1) for name in (f"{role}_types", role)
        )
        return NetworkRunner(types, tokens, network, outputs)

    def _new_tokenizer(self) -> tuple[Lexicon, RuleTokenizer]:
        texts, spec = self.model.preprocessor, self.model.spec
        lexicon = Lexicon(texts.rules, texts.tables, [spec.ner, *([spec.parser] if spec.parser else [])])
        return lexicon, RuleTokenizer(texts.rules, lexicon)

    def _current_tokenizer(self) -> RuleTokenizer:
        lexicon = self._tokenizer[0]
        if len(lexicon) > _MAX_LEXEMES or lexicon.total_characters > _MAX_CHARACTERS:
            self._tokenizer = self._new_tokenizer()  # documents at work keep the lexicon that they have
        return self._tokenizer[1]

    def _tokenized(self, texts: Iterable[str]) -> Iterator[tuple[str, Document]]:
        for text in texts:
            yield text, self._current_tokenizer()(text)

    def _sentence_starts(self, group: Sequence[Document], options: NerOptions, first: int) -> Sequence[Sequence[int]]:
        """For each document the tokens that start a sentence; `first` is the index of the first document's text."""
        if self._parser is not None:
            return self._parser.sentence_starts(group)
        if options.sentence_starts is None:
            return [()] * len(group)
        return [
            _starting_tokens(document, options.sentence_starts[first + index], first + index)
            for index, document in enumerate(group)
        ]

    def _spans(
        self, group: Sequence[Document], is_last: Sequence[NDArray[np.bool_]]
    ) -> list[list[tuple[int, int, int]]]:
        decoders = [EntityDecoder(self.model.spec.ner, self.model.preprocessor.tables) for _ in group]
        if len(group) == 1:
            for part in slices_of(group[0]):
                (outputs,) = self._ner.run([part], is_last)
                decoders[0].feed(outputs, is_last[0][part.start : part.end])
        else:
            full = [index for index, document in enumerate(group) if len(document)]
            parts = [DocumentSlice(group[index], 0, len(group[index])) for index in full]
            if parts:
                for index, outputs in zip(full, self._ner.run(parts, [is_last[index] for index in full]), strict=True):
                    decoders[index].feed(outputs, is_last[index])
        return [decoder.spans for decoder in decoders]

    def _entities(self, text: str, document: Document, spans: list[tuple[int, int, int]]) -> Entities:
        labels = self.model.spec.labels
        found = [
            Found(int(document.starts[start]), document.end(end - 1), labels[label]) for start, end, label in spans
        ]
        return Entities(resolve(text, found), len(document), False)


@dataclass(frozen=True)
class _Group:
    """Texts that are run together; `first` is the place of the first of them among all."""

    first: int
    texts: list[str]
    documents: list[Document]


def _groups(tokenized: Iterable[tuple[str, Document]]) -> Iterator[_Group]:
    """Neighbours of one lexicon, of at most `RUN_TOKENS` tokens together; a longer document alone."""
    group, tokens = _Group(0, [], []), 0
    for index, (text, document) in enumerate(tokenized):
        other = bool(group.documents) and document.lexicon is not group.documents[0].lexicon
        if group.documents and (other or tokens + len(document) > RUN_TOKENS):
            yield group
            group, tokens = _Group(index, [], []), 0
        group.texts.append(text)
        group.documents.append(document)
        tokens += len(document)
    if group.documents:
        yield group


def _last_tokens(document: Document, starts: Sequence[int]) -> NDArray[np.bool_]:
    """Which tokens end the document or a sentence, bool `[tokens]`."""
    is_last = np.zeros(len(document), np.bool_)
    if len(document):
        is_last[-1] = True
        is_last[[start - 1 for start in starts if start > 0]] = True
    return is_last


def _starting_tokens(document: Document, indices: Sequence[int], index: int) -> list[int]:
    """The tokens that begin at the given places in characters, or `InputError`."""
    if not isinstance(indices, Iterable):
        raise InputError("sentence_starts", "no list of places", index=index, got=repr(indices))
    token_at = {start: token for token, start in enumerate(document.starts.tolist())}
    required = list(indices)
    if wrong := [position for position in required if not _is_whole(position) or position not in token_at]:
        raise InputError(
            "sentence_starts",
            f"no token starts at character {wrong[0]!r}",
            index=index,
            expected="places where a token starts",
        )
    return [token_at[position] for position in required]


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
