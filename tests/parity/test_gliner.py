"""GLiNER artifacts find the entities that GLiNER's library finds: spans and tokens, flat and nested, every window."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest
from gliner_calls import STORED_TEXTS, calls_of, differences, library_answers, stored_answers
from gliner_exports import SmallGlinerExport, export_gliner
from onnx_ml_bridge.parity.gliner.evaluation import recognize
from onnx_ml_bridge.parity.gliner.original import OriginalGliner
from onnx_ml_bridge.runtime.entity_agreement import agreement
from small_gliners import SMALL_GLINERS

pytestmark = pytest.mark.families("gliner")
TOLERANCE = 1e-4
# `make agreement-gliner` sets the interpreter with GLiNER's library and 1,000 texts; else the stored answers are used
PYTHON, TEXTS = os.environ.get("ONNX_ML_BRIDGE_GLINER"), int(os.environ.get("ONNX_ML_BRIDGE_TEXTS", STORED_TEXTS))


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Callable[[str], SmallGlinerExport]:
    """The function `exports(name)`, which exports every small model once."""
    return cache(lambda name: export_gliner(tmp_path_factory.mktemp(name), name))


@pytest.fixture(params=SMALL_GLINERS)
def small(request, exports) -> SmallGlinerExport:
    return exports(request.param)


@pytest.fixture(params=["span-deberta", "token-bert"])
def chosen(request, exports) -> SmallGlinerExport:
    """One model of each mode."""
    return exports(request.param)


def test_entities_are_those_of_the_library(small):
    name = small.staged.settings.name
    calls = calls_of(small, TEXTS)
    expected = library_answers(PYTHON, small, calls) if PYTHON else stored_answers(name, calls)
    answers = recognize(small.recognizer(), calls)
    differing, near, largest = differences(calls, expected, answers)
    entities = sum(len(each.entities) for each in expected)
    print(
        f"\n{name}: {TEXTS:,} texts x 5 label sets, {len(calls):,} calls, {entities:,} entities, {len(differing)} "
        f"calls differ, {len(near)} differ near the threshold, scores within {largest:.1e}"
    )
    assert not differing, [(calls[index], expected[index], answers[index]) for index in differing[:2]]
    assert len(near) <= 0.01 * len(calls)
    assert largest <= TOLERANCE
    assert entities > len(calls)


def test_the_original_of_the_parity_stage_is_the_library(chosen):
    calls = calls_of(chosen, STORED_TEXTS)
    original = OriginalGliner(chosen.source, chosen.preprocessor.tokenizer.spec.max_tokens)
    answers = [original.entities(each.text, each.call) for each in calls]
    differing, near, largest = differences(
        calls, stored_answers(chosen.staged.settings.name, calls), [each.entities for each in answers]
    )
    assert not differing and len(near) <= 0.01 * len(calls) and largest <= TOLERANCE


def test_a_long_text_has_the_entities_of_the_original(chosen):
    """The windows are the same, and one search decides over the candidates of all of them."""
    original = OriginalGliner(chosen.source, chosen.preprocessor.tokenizer.spec.max_tokens)
    long = [each for each in calls_of(chosen, 40) if each.text]
    text = " ".join(each.text for each in long[:60])
    entry = long[0]
    reference = original.entities(text, entry.call)
    (answer,) = chosen.recognizer().recognize([text], entry.options)
    assert (answer.tokens, answer.truncated) == (reference.tokens, reference.truncated)
    assert differences([entry], [reference], [answer])[0] == []
    assert answer.tokens > 5 * chosen.preprocessor.tokenizer.spec.max_tokens


def test_answers_do_not_depend_on_the_batch(chosen):
    calls = calls_of(chosen, STORED_TEXTS)
    together = recognize(chosen.recognizer(token_budget=4096), calls)
    alone = recognize(chosen.recognizer(token_budget=1), calls)
    for call, a, b in zip(calls, together, alone, strict=True):
        scores = {(each.start, each.end, each.label): each.score for each in a}
        assert [scores[each.start, each.end, each.label] for each in b] == pytest.approx(
            [each.score for each in b], abs=1e-6
        ), call


def test_int8_finds_nearly_the_same_entities(chosen):
    """The gate is loose, because scores of random weights are spread, and many are near the threshold."""
    calls = calls_of(chosen, STORED_TEXTS)
    exact = recognize(chosen.recognizer(), calls)
    answers = recognize(chosen.with_int8().recognizer("int8"), calls)
    figure = agreement([each.entities for each in exact], answers).entity_f1
    print(f"\n{chosen.staged.settings.name}: int8 entity F1 against fp32 {figure:.4f}")
    assert figure > 0.75
