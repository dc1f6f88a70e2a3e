"""Token classifiers of further architectures and tokenizers: the entities of the pipeline, in Python and in Rust.

`make test` runs two of them with some settings; with ONNX_ML_BRIDGE_ARCHITECTURES=all, as in `make architectures`, all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from model_results import record
from more_token_classifiers import MORE_TOKEN_CLASSIFIERS
from onnx_ml_bridge import RecognizeOptions
from onnx_ml_bridge.artifacts.ner import STRATEGIES
from onnx_ml_bridge.runtime.entities import Entities, Entity
from onnx_ml_bridge.runtime.entity_agreement import agreement
from rust_command import rust_ner
from token_classifier_exports import (
    MAX_TOKENS,
    STRIDES,
    SmallTokenClassifier,
    export_token_classifier,
    golden_cases,
    seal_token_classifier,
    token_classifier_texts,
)

ALL = os.environ.get("ONNX_ML_BRIDGE_ARCHITECTURES") == "all"
# In `make test`: a tokenizer like Llama 3's with windows of attention, and one with byte fallback and RMS norms
NAMES = sorted(MORE_TOKEN_CLASSIFIERS) if ALL else ("eurobert", "modernbert")
SETTINGS: list[tuple[str, int | None]] = [(strategy, None) for strategy in STRATEGIES]
SETTINGS += [(strategy, stride) for strategy in STRATEGIES[1:] for stride in (STRIDES if ALL else STRIDES[1:])]

# One thread also makes ties of two labels the same in every run: with more, torch adds numbers in another order
pytestmark = [pytest.mark.families("token_classification"), pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class Made:
    """A small token classifier, and its artifact."""

    name: str
    small: SmallTokenClassifier
    artifact: Path


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    small = export_token_classifier(folder, MORE_TOKEN_CLASSIFIERS[request.param], model_max_length=MAX_TOKENS)
    cases = golden_cases(small, ["Anna lives in Berlin."], "simple", None)
    return Made(request.param, small, seal_token_classifier(small, folder / "artifact", cases))


def compare(made: Made, language: str, settings: str, found: Sequence[Entities]) -> None:
    """Assert that no text has other entities than in the original, and record the number of compared entities."""
    strategy, stride = SETTINGS[int(settings)]
    expected = made.small.original(token_classifier_texts(), strategy, stride)
    compared = agreement([each.entities for each in expected], found)
    count = sum(len(each.entities) for each in expected)
    figures = {"entities": count, "texts": len(expected), "differing": len(compared.differing)}
    record("entities", made.name, {f"{language} {settings} {name}": figure for name, figure in figures.items()})
    record("entities", made.name, {"model_type": made.small.pipeline.model.config.model_type})
    assert compared.differing == (), [token_classifier_texts()[index] for index in compared.differing]
    assert compared.score_max_abs is not None and compared.score_max_abs <= 1e-5
    assert [each.truncated for each in found] == [each.truncated for each in expected]


@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_python_returns_the_entities_of_the_pipeline(made, index):
    strategy, stride = SETTINGS[index]
    options = RecognizeOptions(aggregation_strategy=strategy, stride=stride)
    compare(made, "python", str(index), made.small.classifier(threads=1).recognize(token_classifier_texts(), options))


@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_rust_returns_the_entities_of_the_pipeline(rust, made, index):
    strategy, stride = SETTINGS[index]
    options = ["--aggregation-strategy", strategy, *([] if stride is None else ["--stride", str(stride)])]
    answers = rust_ner(rust, made.artifact, [{"text": text} for text in token_classifier_texts()], *options)
    found = [
        Entities(tuple(Entity(**each) for each in answer["entities"]), 0, answer["truncated"]) for answer in answers
    ]
    compare(made, "rust", str(index), found)


def test_the_answers_of_the_models_vary(made):
    """Many labels occur and texts have several entities, so that the other tests detect wrong ones."""
    found = [each.entities for each in made.small.original(token_classifier_texts(), "none")]
    assert len({entity.label for entities in found for entity in entities}) >= 8
    assert sum(map(len, found)) > 5 * len(found)
