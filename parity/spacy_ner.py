"""The parity stage of spaCy pipelines; the original is the pipeline in spaCy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from ..artifacts.constants import EXACT
from ..artifacts.families.spacy_ner import SPACY_NER, SpacySpec
from ..artifacts.manifest import Manifest
from ..artifacts.ner import ExpectedEntity
from ..artifacts.originals import original_errors
from ..artifacts.staging import Staged
from ..runtime.handles.recognizer import RecognizeOptions, Recognizer
from ..runtime.spacy_ner.recognizer import SpacyModel, SpacyPreprocessor, SpacyRecognizer
from ..runtime.spacy_ner.rules import read_rules
from ..runtime.spacy_ner.tables import read_tables
from .ner.evaluation import NerInput, NerParity, evaluate, evidence, golden_cases, ner_texts, words_per_second
from .ner.original import OriginalEntities
from .ner.report import write_ner_report
from .proof import Proof

__all__ = ["evidence", "golden_cases", "prove", "write_report"]

# The value of spaCy's limit `max_length` in characters: larger than any parity text, which spaCy could otherwise refuse
_MAX_LENGTH = 10**9


def prove(staged: Staged, folder: Path) -> Proof[NerParity]:
    """Compare the variant that the build settings name with the original pipeline in `folder`."""
    settings, spec = staged.settings, staged.section(SpacySpec)
    texts = ner_texts(spec.language)
    original = load_original(folder, spec.sentences)
    starts = some_sentence_starts(original, texts) if spec.sentences == "given" else None
    recognizer = Recognizer(SpacyRecognizer(_model(staged, spec)))
    speeds = {"original": words_per_second(partial(original_entities, original), texts)}
    references = original_entities(original, texts, starts)
    inputs = [NerInput(text, sentence_starts=starts[index] if starts else None) for index, text in enumerate(texts)]
    parity = evaluate(inputs, references, {EXACT: recognizer}, settings.gates)
    # A model with `given` sentences requires sentence starts in every call
    speeds[EXACT] = words_per_second(
        lambda chosen: recognizer.recognize(chosen, RecognizeOptions(sentence_starts=starts and starts[: len(chosen)])),
        texts,
    )
    return Proof(parity, speeds)


def write_report(proof: Proof[NerParity], manifest: Manifest, path: Path) -> None:
    """Write the HTML report to `path` atomically."""
    write_ner_report(SPACY_NER, proof, manifest, path, original="spaCy", preprocessor="rules and tables")


def _model(staged: Staged, spec: SpacySpec) -> SpacyModel:
    folder, settings = staged.folder, staged.settings
    preprocessor = SpacyPreprocessor(read_rules(folder / spec.rules), read_tables(folder / spec.tables, spec))
    graphs = dict(staged.variants[EXACT].graphs)
    return SpacyModel(folder, settings.name, settings.version, EXACT, graphs, spec, preprocessor)


@original_errors("spaCy")
def load_original(folder: Path, sentences: str) -> Language:
    """Load the original: the whole pipeline if `sentences` is `parser`, else `ner` and the component it listens to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hides warnings about models of older spaCy versions
        nlp = spacy.load(folder)
    if sentences != "parser":
        nlp.select_pipes(enable=[name for name in nlp.pipe_names if name in ("ner", *_upstream(nlp))])
    nlp.max_length = _MAX_LENGTH
    return nlp


@original_errors("spaCy")
def original_entities(
    nlp: Language, texts: Sequence[str], sentence_starts: Sequence[Sequence[int]] | None = None
) -> list[OriginalEntities]:
    """Return the entities of every text; `sentence_starts` are character offsets, set before the pipeline runs."""
    docs = [nlp.make_doc(text) for text in texts]
    for doc, starts in zip(docs, sentence_starts or [()] * len(docs), strict=True):
        _mark_sentences(doc, starts)
    return [_entities(doc) for doc in nlp.pipe(docs)]


@original_errors("spaCy")
def some_sentence_starts(nlp: Language, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the sentence starts of every text by spaCy's rule-based sentencizer, as character offsets."""
    rules = spacy.blank(nlp.lang)
    rules.add_pipe("sentencizer")
    starts = []
    for text in texts:
        doc = rules.get_pipe("sentencizer")(nlp.make_doc(text))
        starts.append(tuple(token.idx for token in doc if token.is_sent_start))
    return starts


def _upstream(nlp: Language) -> Iterator[str]:
    """Yield the name of the tok2vec component that `ner` listens to, if there is one."""
    layer = nlp.get_pipe("ner").model.layers[0].layers[0]
    if layer.name == "tok2vec-listener":
        yield from (name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory == "tok2vec")


def _mark_sentences(doc: Doc, starts: Sequence[int]) -> None:
    expected = set(starts)
    for token in doc:
        if token.idx in expected:
            token.is_sent_start = True


def _entities(doc: Doc) -> OriginalEntities:
    entities = tuple(ExpectedEntity(entity.start_char, entity.end_char, entity.label_, None) for entity in doc.ents)
    return OriginalEntities(entities, len(doc), False)
