"""The original spaCy pipeline as an oracle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from ..artifacts.golden import ExpectedEntity
from .ner.original import OriginalEntities

# Larger than any text that is judged; spaCy's own limit only guards its memory.
_MAX_LENGTH = 10**9


def load_original(folder: Path, sentences: str) -> Language:
    """Load what an artifact reproduces: the whole pipeline for `parser`, else the component `ner` and what feeds it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model trained with an older spaCy
        nlp = spacy.load(folder)
    if sentences != "parser":
        nlp.select_pipes(enable=[name for name in nlp.pipe_names if name in ("ner", *_upstream(nlp))])
    nlp.max_length = _MAX_LENGTH
    return nlp


def original_entities(
    nlp: Language, texts: Sequence[str], sentence_starts: Sequence[Sequence[int]] | None = None
) -> list[OriginalEntities]:
    """What the pipeline says of every text; with `sentence_starts`, places in characters, what it says given those."""
    docs = [nlp.make_doc(text) for text in texts]
    for doc, starts in zip(docs, sentence_starts or [()] * len(docs), strict=True):
        _mark_sentences(doc, starts)
    return [_entities(doc) for doc in nlp.pipe(docs)]


def some_sentence_starts(nlp: Language, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Sentence starts to try a model with that wants them given: those of spaCy's rule-based sentencizer."""
    rules = spacy.blank(nlp.lang)
    rules.add_pipe("sentencizer")
    starts = []
    for text in texts:
        doc = rules.get_pipe("sentencizer")(nlp.make_doc(text))
        starts.append(tuple(token.idx for token in doc if token.is_sent_start))
    return starts


def _upstream(nlp: Language) -> Iterator[str]:
    """The component whose vectors `ner` listens to, if it does."""
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
