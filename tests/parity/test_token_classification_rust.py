"""The Rust command with small token classifiers returns the entities of the transformers pipeline for all settings."""

from __future__ import annotations

import subprocess

import pytest
from onnx_ml_bridge import BridgeOptions, Model, RecognizeOptions, Recognizer
from onnx_ml_bridge.artifacts.ner import STRATEGIES
from onnx_ml_bridge.runtime.entities import Entities, Entity
from onnx_ml_bridge.runtime.entity_agreement import agreement
from rust_command import rust_ner
from token_classifier_exports import KINDS, STRIDES, token_classifier_texts

TOLERANCE = 1e-5
SETTINGS = [(strategy, None) for strategy in STRATEGIES]
SETTINGS += [(strategy, stride) for strategy in STRATEGIES[1:] for stride in STRIDES]

every_kind = pytest.mark.parametrize("name", KINDS)


def rust_entities(rust, artifact, variant: str, strategy: str, stride: int | None) -> list[Entities]:
    options = ["--variant", variant, "--aggregation-strategy", strategy]
    options += [] if stride is None else ["--stride", str(stride)]
    answers = rust_ner(rust, artifact, [{"text": text} for text in token_classifier_texts()], *options)
    return [
        Entities(tuple(Entity(**entity) for entity in answer["entities"]), 0, answer["truncated"]) for answer in answers
    ]


@every_kind
@pytest.mark.parametrize(("strategy", "stride"), SETTINGS)
def test_rust_returns_the_entities_of_the_pipeline(
    rust, token_classifier, sealed_token_classifier, name, strategy, stride
):
    expected = token_classifier(name).original(token_classifier_texts(), strategy, stride)
    found = rust_entities(rust, sealed_token_classifier(name), "fp32", strategy, stride)
    compared = agreement([each.entities for each in expected], found)
    assert compared.differing == (), [token_classifier_texts()[index] for index in compared.differing]
    assert compared.score_max_abs is not None and compared.score_max_abs <= TOLERANCE
    assert [each.truncated for each in found] == [each.truncated for each in expected]


@every_kind
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_rust_and_python_return_the_same_offsets(rust, sealed_token_classifier, name, variant):
    expected = Recognizer.open(
        Model(sealed_token_classifier(name), variant=variant), BridgeOptions(threads=1)
    ).recognize(token_classifier_texts(), RecognizeOptions(aggregation_strategy="average", stride=STRIDES[1]))
    found = rust_entities(rust, sealed_token_classifier(name), variant, "average", STRIDES[1])
    compared = agreement([each.entities for each in expected], found)
    assert compared.differing == () and compared.score_max_abs is not None and compared.score_max_abs <= TOLERANCE
    for text, mine, theirs in zip(token_classifier_texts(), found, expected, strict=True):
        indices = [[(each.text, each.start_byte, each.end_byte) for each in one.entities] for one in (mine, theirs)]
        assert indices[0] == indices[1]
        for entity in mine.entities:
            start, end = entity.utf16_range(text)
            assert text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") == entity.text


@every_kind
def test_rust_replays_the_golden_cases(rust, sealed_token_classifier, name):
    done = subprocess.run([str(rust), "verify", str(sealed_token_classifier(name))], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
