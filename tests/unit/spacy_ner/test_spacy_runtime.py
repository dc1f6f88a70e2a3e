"""The recognizer: unusual texts, batches of any size, full caches, threads, sentence starts and limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import VALID
from odd_texts import ODD
from onnx_ml_bridge import ConfigError, InputError, RecognizeOptions, Recognizer
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.spacy_ner import lexicon, network_runner, recognizer, tokenizer, word_types
from onnx_ml_bridge.runtime.spacy_ner.recognizer import SpacyModel, SpacyRecognizer

NONE = RecognizeOptions()


@pytest.fixture(scope="module")
def made() -> dict[str, Recognizer]:
    """Recognizers of one pipeline, one for each value of the setting `sentences`."""
    model = Recognizer.open(VALID / "tiny-spacy").backend.model
    specs = [replace(model.spec, sentences=kind, parser=None) for kind in ("none", "given")]
    return {spec.sentences: recognizer_of(replace(model, spec=spec)) for spec in (*specs, model.spec)}


def recognizer_of(model: SpacyModel, **changes: Any) -> Recognizer:
    return Recognizer(SpacyRecognizer(model, **({"threads": 1} | changes)))


def sample() -> list[str]:
    return [*ODD, *adversarial_texts("en", 60, 9), *parity_texts()[::20]]


def again(found: Recognizer) -> Recognizer:
    """Return a new recognizer of the same model, with no graph loaded and empty caches."""
    return recognizer_of(found.backend.model)


def test_results_do_not_depend_on_the_size_of_runs(made, monkeypatch):
    texts = sample()[len(ODD) :]
    expected = {kind: made[kind].recognize(texts, options(kind, texts)) for kind in made}
    assert all(sum(len(each.entities) for each in found) > 100 for found in expected.values())
    for size in (1, 3, 50):
        monkeypatch.setattr(network_runner, "RUN_TOKENS", size)
        monkeypatch.setattr(recognizer, "RUN_TOKENS", size)
        few = texts[:: 1 if size > 3 else 4]
        for kind in made:
            found = made[kind].recognize(few, options(kind, few))
            assert found == expected[kind][:: 1 if size > 3 else 4], f"{kind}, runs of {size}"


def options(kind: str, texts: list[str]) -> RecognizeOptions:
    return RecognizeOptions(sentence_starts=[[0] if text else [] for text in texts] if kind == "given" else None)


def test_results_do_not_depend_on_the_size_of_text_blocks(made, monkeypatch):
    texts = sample()
    expected = made["none"].recognize(texts, NONE)
    for size in (1, 7):
        monkeypatch.setattr(tokenizer, "_BLOCK", size)
        assert again(made["none"]).recognize(texts, NONE) == expected


FULL = [
    (recognizer, "_MAX_LEXEMES", 200),
    (recognizer, "_MAX_CHARACTERS", 900),
    (lexicon, "_MAX_STRINGS", 5),
    (lexicon, "_FIRST_CAPACITY", 1),
    (tokenizer, "_MAX_CACHED_CHUNKS", 3),
    (tokenizer, "_MAX_COMPILED", 1),
    (tokenizer, "_MAX_CACHED_LENGTH", 0),
    (word_types, "MAX_TYPES", 3),
]


@pytest.mark.parametrize(("module", "name", "limit"), FULL, ids=[name for _, name, _ in FULL])
def test_results_do_not_depend_on_the_size_of_caches(made, monkeypatch, module, name, limit):
    texts = sample()
    expected = made["parser"].recognize(texts, NONE)
    monkeypatch.setattr(module, name, limit)
    fresh = again(made["parser"])
    first = fresh.backend._tokenizer[0]
    assert fresh.recognize(texts, NONE) == expected
    assert fresh.recognize(texts[::-1], NONE) == expected[::-1]
    assert (fresh.backend._tokenizer[0] is not first) == (module is recognizer)


@pytest.mark.parametrize("is_full", [False, True])
def test_many_threads_get_the_results_of_one(made, monkeypatch, is_full):
    if is_full:
        for module, name, limit in (*FULL[:3], FULL[-1]):
            monkeypatch.setattr(module, name, limit)
    texts = sample()
    expected = made["parser"].recognize(texts, NONE)
    shared = recognizer_of(made["parser"].backend.model, threads=2)

    def work(shift: int) -> bool:
        turned = texts[shift:] + texts[:shift]
        return shared.recognize(turned, NONE) == expected[shift:] + expected[:shift]

    with ThreadPoolExecutor(4 if is_full else 8) as pool:
        assert all(pool.map(work, range(0, 80, 20 if is_full else 5)))


# -- Options of a call


def test_missing_or_unexpected_sentence_starts_are_refused(made):
    for kind, starts in (("given", None), ("none", [[0]]), ("parser", [[0]])):
        with pytest.raises(InputError, match=kind) as refused:
            made[kind].recognize(["Ann met Bo."], RecognizeOptions(sentence_starts=starts))
        assert (refused.value.code, refused.value.index) == ("sentence_starts", None)


@pytest.mark.parametrize(
    ("starts", "index"),
    [
        ([[0]], None),
        ([[0], [0], [0]], None),
        ([[0], [1]], 1),
        ([[0, 4, 5], [0]], 0),
        ([[0], [-1]], 1),
        ([[0], [11]], 1),
        ([[0], ["0"]], 1),
        ([[0], [0.0]], 1),
        ([[False], [0]], 0),
        ([[0], [None]], 1),
        ([[0], None], 1),
        ([[0], [[0]]], 1),
    ],
)
def test_invalid_sentence_starts_are_refused(made, starts, index):
    with pytest.raises(InputError) as refused:
        made["given"].recognize(["Ann met Bo.", "Bo met Ann."], RecognizeOptions(sentence_starts=starts))
    assert (refused.value.code, refused.value.index) == ("sentence_starts", index)


def test_sentence_starts_may_have_any_order_and_type(made):
    text = "Ann met Bo. Cy met Di."
    model = made["given"]

    def given(starts: Any) -> Any:
        return model.recognize([text], RecognizeOptions(sentence_starts=[starts]))

    assert given([0, 12]) == given((12, 0, 12)) == given(np.array([12])) == given([12])
    assert given([]) == given([0]) == made["none"].recognize([text], NONE)


def test_the_text_limit_counts_bytes(made):
    limited = recognizer_of(made["none"].backend.model, text_limit=8)
    assert limited.recognize(["éééé"], NONE)[0].tokens == 1
    with pytest.raises(InputError) as refused:
        limited.recognize(["ok", "ééééa"], NONE)
    assert (refused.value.code, refused.value.index) == ("input_too_large", 1)
    with pytest.raises(InputError):
        limited.backend.tokenize("lone \udfff")


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"text_limit": 0}])
def test_invalid_limits_are_refused(made, wrong):
    with pytest.raises(ConfigError):
        SpacyRecognizer(made["none"].backend.model, **wrong)


@pytest.mark.parametrize("kind", ["none", "given", "parser"])
def test_the_self_test_passes(made, kind):
    fresh = again(made[kind])
    fresh.warm_up()
    fresh.self_test()


def test_a_very_long_text(made):
    """Memory and time are linear in the number of tokens; a repeated word is added to the lexicon only once."""
    sentence = "Ann met Bo in Paris, and they talked about the U.S. and 10km of rain. "
    text = sentence * 1500
    large = recognizer_of(made["none"].backend.model, text_limit=20_000_000)
    with pytest.raises(InputError) as refused:
        made["none"].recognize([text * 100], NONE)
    assert refused.value.code == "input_too_large"
    (found,) = large.recognize([text], NONE)
    (half,) = large.recognize([sentence * 750], NONE)
    assert found.tokens == 2 * half.tokens and len(found.entities) >= 2 * len(half.entities) - 2
    assert len(large.backend._tokenizer[0]) < 200 + len(large.backend.model.preprocessor.rules.specials)
