"""The recognizer itself: odd texts, very long tokens and entities, sentence starts, threads, full tables."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from onnx_ml_bridge import ConfigError, InputError
from onnx_ml_bridge.parity.spacy_ner import original_entities
from onnx_ml_bridge.runtime.entities import NerOptions
from onnx_ml_bridge.runtime.session import GraphSession
from onnx_ml_bridge.runtime.spacy_ner import lexicon, network_runner, recognizer, tokenizer, word_types
from onnx_ml_bridge.runtime.spacy_ner.recognizer import SpacyRecognizer
from small_pipelines import component_moves, make_pipeline
from spacy.language import Language
from spacy_exports import check_offsets, check_tokens, differing, export_recognizer, ner_sample

NONE = NerOptions()
ODD = [
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\x1c",
    "\x1c\x1d\x1e\x1f",
    "\u00a0",
    "\u200b",
    "\u200b\u200b ",
    "\ufeff",
    "\u2028",
    "\x00",
    "\u0301",
    "\u0301\u0301 \u0301",
    "e\u0301",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈🇫🇷1️⃣",
    "👍🏽👍🏽 👍🏽",
    "İstanbul İ",
    "STRASSE ẞ ß",
    "ΟΔΥΣΣΕΥΣ Σ",
    "ﬁ ﬂ ŉ",
    "Ann\u00a0met\u2003Bo\x1c",
    "\u200bAnn\u200b",
    "Ann\u0301, Bo\u0301.",
    " Ann",
    "Ann ",
    "  Ann  Bo  ",
    "a\u202fb",
    "don't.",
    "(don't)",
    "שלום Ann עולם",
    "10km",
    "U.S.A.",
    ":) :-) :))",
    "\ud7ff\ue000",
    "\U0010ffff",
]


@pytest.fixture(scope="module")
def nlp() -> Language:
    return make_pipeline(parser=True)


@pytest.fixture(scope="module")
def made(nlp, tmp_path_factory) -> dict[str, SpacyRecognizer]:
    """The recognizers of one pipeline, by the sentences they heed."""
    folder = tmp_path_factory.mktemp("small")
    return {kind: export_recognizer(nlp, folder / kind, kind) for kind in ("none", "given", "parser")}


def again(found: SpacyRecognizer) -> SpacyRecognizer:
    """The same model with nothing loaded and nothing remembered."""
    return SpacyRecognizer(found.model, threads=1)


def test_odd_texts(nlp, made):
    expected = original_entities(nlp, ODD)
    found = made["parser"].recognize(ODD, NONE)
    assert differing(expected, found) == []
    assert check_tokens(nlp, made["parser"].model, ODD) > 50
    check_offsets(ODD, found)
    assert [made["parser"].recognize([text], NONE)[0] for text in ODD] == found


# Every way a tokenizer may go over a long chunk again and again: a sign cut off each time, a match tried each time
LONG = ["x", "é", "X1", "(", "a.", "-", "a-b", "1,", "'s", "😀", "\u0301", "a@", "don't", "...", "£1", "http://"]
# spaCy's pattern for addresses looks for an @ from every colon to the end, in spaCy as here: time grows quadratically
FEWER = {"http://": 20_000}


@pytest.mark.parametrize("unit", LONG)
def test_a_token_of_200_000_characters(nlp, made, unit):
    model = made["none"]
    check_tokens(nlp, model.model, [(unit * 1000)[:1000], f"Ann {(unit * 500)[:499]} Bo"])
    text = (unit * 200_000)[: FEWER.get(unit, 200_000)]
    started = time.process_time()
    document = model.tokenize(text)
    assert time.process_time() - started < 20, "in time that is not linear it would be hours"
    assert document.end(len(document) - 1) == len(text)
    assert (document.starts[1:] == [document.end(token) for token in range(len(document) - 1)]).all()


@pytest.mark.parametrize("unit", ["x", "é", "X1"])
def test_a_token_of_200_000_characters_as_spacy_has_it(nlp, made, unit):
    text = f"Ann {(unit * 200_000)[:200_000]} Bo"
    assert check_tokens(nlp, made["none"].model, [text]) == 3
    with nlp.select_pipes(disable=["parser"]):
        assert differing(original_entities(nlp, [text]), made["none"].recognize([text], NONE)) == []


def test_one_entity_over_thousands_of_tokens(tmp_path, monkeypatch):
    """Every token is looked at by one run of the graph, but for the context of neighbouring parts."""
    nlp = make_pipeline()
    component = nlp.get_pipe("ner")
    upper = component.model.layers[2]
    more = {"O": -100, "U": -100, "I": 100}
    upper.set_param("b", np.array([more.get(name[0], 0) for name in component_moves(component)], np.float32))
    model = export_recognizer(nlp, tmp_path / "staging")
    sizes: list[int] = []
    run = GraphSession.run

    def counting(session, outputs, feeds):
        if "preactivation" in feeds:  # the graph of the tokens, not that of the types
            sizes.append(len(feeds["preactivation"]))
        return run(session, outputs, feeds)

    monkeypatch.setattr(GraphSession, "run", counting)
    context = model.model.spec.ner.context
    for words in (3000, 6000, 12_000):
        text = "word " * words
        sizes.clear()
        (found,) = model.recognize([text], NONE)
        assert [(entity.start, entity.end) for entity in found.entities] == [(0, len(text) - 1)]
        assert len(sizes) == -(-words // network_runner.RUN_TOKENS)
        assert sum(sizes) <= words + (4 * context + 1) * len(sizes)
        assert differing(original_entities(nlp, [text]), [found]) == []


def test_parts_and_groups_of_any_size(made, monkeypatch):
    texts = ner_sample("en", 60, 9, 20)
    expected = {kind: made[kind].recognize(texts, options(kind, texts)) for kind in made}
    for size in (1, 3, 50):
        monkeypatch.setattr(network_runner, "RUN_TOKENS", size)
        monkeypatch.setattr(recognizer, "RUN_TOKENS", size)
        few = texts[:: 1 if size > 3 else 4]
        for kind in made:
            found = made[kind].recognize(few, options(kind, few))
            assert found == expected[kind][:: 1 if size > 3 else 4], f"{kind}, runs of {size}"


def options(kind: str, texts: list[str]) -> NerOptions:
    return NerOptions(sentence_starts=[[0] if text else [] for text in texts] if kind == "given" else None)


def test_texts_are_read_in_parts_of_any_size(made, monkeypatch):
    texts = [*ODD, *ner_sample("en", 60, 9, 20)]
    expected = made["none"].recognize(texts, NONE)
    for size in (1, 7):
        monkeypatch.setattr(tokenizer, "_PART", size)
        assert again(made["none"]).recognize(texts, NONE) == expected


FULL = [
    (recognizer, "_MAX_LEXEMES", 200),
    (recognizer, "_MAX_CHARACTERS", 900),
    (lexicon, "_MAX_STRINGS", 5),
    (lexicon, "_FIRST_CAPACITY", 1),
    (tokenizer, "_MAX_CHUNKS", 3),
    (tokenizer, "_MAX_FIRSTS", 1),
    (tokenizer, "_LONGEST_CACHED", 0),
    (word_types, "MAX_TYPES", 3),
]


@pytest.mark.parametrize(("module", "name", "limit"), FULL, ids=[name for _, name, _ in FULL])
def test_tables_that_are_full(made, monkeypatch, module, name, limit):
    texts = [*ODD, *ner_sample("en", 60, 9, 20)]
    expected = made["parser"].recognize(texts, NONE)
    monkeypatch.setattr(module, name, limit)
    fresh = again(made["parser"])
    first = fresh._tokenizer[0]
    assert fresh.recognize(texts, NONE) == expected
    assert fresh.recognize(texts[::-1], NONE) == expected[::-1]
    assert (fresh._tokenizer[0] is not first) == (module is recognizer)


@pytest.mark.parametrize("is_full", [False, True])
def test_many_threads_on_one_recognizer(made, monkeypatch, is_full):
    if is_full:
        for module, name, limit in (*FULL[:3], FULL[-1]):
            monkeypatch.setattr(module, name, limit)
    texts = [*ODD, *ner_sample("en", 60, 9, 20)]
    expected = made["parser"].recognize(texts, NONE)
    shared = SpacyRecognizer(made["parser"].model, threads=2)

    def work(shift: int) -> bool:
        turned = texts[shift:] + texts[:shift]
        return shared.recognize(turned, NONE) == expected[shift:] + expected[:shift]

    with ThreadPoolExecutor(4 if is_full else 8) as pool:
        assert all(pool.map(work, range(0, 80, 20 if is_full else 5)))


# -- Options


def test_sentence_starts_that_are_missing_or_not_wanted(made):
    for kind, starts in (("given", None), ("none", [[0]]), ("parser", [[0]])):
        with pytest.raises(InputError, match=kind) as refused:
            made[kind].recognize(["Ann met Bo."], NerOptions(sentence_starts=starts))
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
def test_sentence_starts_that_are_none(made, starts, index):
    with pytest.raises(InputError) as refused:
        made["given"].recognize(["Ann met Bo.", "Bo met Ann."], NerOptions(sentence_starts=starts))
    assert (refused.value.code, refused.value.index) == ("sentence_starts", index)


def test_sentence_starts_of_any_order_and_kind(made):
    text = "Ann met Bo. Cy met Di."
    model = made["given"]

    def given(starts: Any) -> Any:
        return model.recognize([text], NerOptions(sentence_starts=[starts]))

    assert given([0, 12]) == given((12, 0, 12)) == given(np.array([12])) == given([12])
    assert given([]) == given([0]) == made["none"].recognize([text], NONE)


def test_sentence_starts_count_characters(nlp, made):
    texts = ["😀é Ann met Bo. Cy met Di in Paris, she said."] * 2
    starts = [[0, 15], [0, 3, 7]]
    assert texts[0][15:17] == "Cy"
    with nlp.select_pipes(disable=["parser"]):
        expected = original_entities(nlp, texts, starts)
    assert differing(expected, made["given"].recognize(texts, NerOptions(sentence_starts=starts))) == []


def test_the_limit_counts_bytes(made):
    limited = SpacyRecognizer(made["none"].model, threads=1, text_limit=8)
    assert limited.recognize(["éééé"], NONE)[0].tokens == 1
    with pytest.raises(InputError) as refused:
        limited.recognize(["ok", "ééééa"], NONE)
    assert (refused.value.code, refused.value.index) == ("input_too_large", 1)
    with pytest.raises(InputError):
        limited.tokenize("lone \udfff")


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"text_limit": 0}])
def test_wrong_settings(made, wrong):
    with pytest.raises(ConfigError):
        SpacyRecognizer(made["none"].model, **wrong)


@pytest.mark.parametrize("kind", ["none", "given", "parser"])
def test_it_tests_itself(made, kind):
    fresh = again(made[kind])
    fresh.load()
    fresh.self_test()


def test_ten_megabytes_of_text(made):
    """In memory that the tokens need, and in time that is linear: the words are known after the first few."""
    sentence = "Ann met Bo in Paris, and they talked about the U.S. and 10km of rain. "
    text = sentence * 1500
    large = SpacyRecognizer(made["none"].model, threads=1, text_limit=20_000_000)
    with pytest.raises(InputError) as refused:
        made["none"].recognize([text * 100], NONE)
    assert refused.value.code == "input_too_large"
    (found,) = large.recognize([text], NONE)
    (half,) = large.recognize([sentence * 750], NONE)
    assert found.tokens == 2 * half.tokens and len(found.entities) >= 2 * len(half.entities) - 2
    assert len(large._tokenizer[0]) < 200 + len(large.model.preprocessor.rules.specials)
