"""The recognizer equals spaCy on odd texts, on very long tokens and entities, and with given sentence starts."""

from __future__ import annotations

import time

import numpy as np
import pytest
from odd_texts import ODD
from onnx_ml_bridge import RecognizeOptions, Recognizer
from onnx_ml_bridge.parity.spacy_ner import original_entities
from onnx_ml_bridge.runtime.session import GraphSession
from onnx_ml_bridge.runtime.spacy_ner import network_runner
from small_pipelines import component_moves, make_pipeline
from spacy.language import Language
from spacy_exports import check_offsets, check_tokens, differing, export_recognizer

NONE = RecognizeOptions()


@pytest.fixture(scope="module")
def nlp() -> Language:
    return make_pipeline(parser=True)


@pytest.fixture(scope="module")
def made(nlp, tmp_path_factory) -> dict[str, Recognizer]:
    """The recognizers that are exported from one pipeline, one for each value of the setting `sentences`."""
    folder = tmp_path_factory.mktemp("small")
    return {kind: export_recognizer(nlp, folder / kind, kind) for kind in ("none", "given", "parser")}


def test_odd_texts(nlp, made):
    expected = original_entities(nlp, ODD)
    found = made["parser"].recognize(ODD, NONE)
    assert differing(expected, found) == []
    assert check_tokens(nlp, made["parser"].backend.model, ODD) > 50
    check_offsets(ODD, found)
    assert [made["parser"].recognize([text], NONE)[0] for text in ODD] == found


# The tests repeat each of these strings to one very long word. A tokenizer would need quadratic time for it if it
# copied or searched the whole remaining word whenever it cuts off a character.
LONG = ["x", "é", "X1", "(", "a.", "-", "a-b", "1,", "'s", "😀", "\u0301", "a@", "don't", "...", "£1", "http://"]


# A shorter word, for the pattern of web addresses: from every colon, the pattern searches for an @ up to the end of the
# word, so its time is quadratic in spaCy and in this package
FEWER = {"http://": 20_000}


@pytest.mark.parametrize("unit", LONG)
def test_a_token_of_200_000_characters(nlp, made, unit):
    model = made["none"]
    check_tokens(nlp, model.backend.model, [(unit * 1000)[:1000], f"Ann {(unit * 500)[:499]} Bo"])
    text = (unit * 200_000)[: FEWER.get(unit, 200_000)]
    started = time.process_time()
    document = model.backend.tokenize(text)
    assert time.process_time() - started < 20, "in time that is not linear it would be hours"
    assert document.end(len(document) - 1) == len(text)
    assert (document.starts[1:] == [document.end(token) for token in range(len(document) - 1)]).all()


@pytest.mark.parametrize("unit", ["x", "é", "X1"])
def test_a_token_of_200_000_characters_is_the_same_in_spacy(nlp, made, unit):
    text = f"Ann {(unit * 200_000)[:200_000]} Bo"
    assert check_tokens(nlp, made["none"].backend.model, [text]) == 3
    with nlp.select_pipes(disable=["parser"]):
        assert differing(original_entities(nlp, [text]), made["none"].recognize([text], NONE)) == []


def test_one_entity_over_thousands_of_tokens(tmp_path, monkeypatch):
    """The graph processes a document in slices, and computes only the few tokens around each slice more than once."""
    nlp = make_pipeline()
    component = nlp.get_pipe("ner")
    upper = component.model.layers[2]
    more = {"O": -100, "U": -100, "I": 100}
    upper.set_param("b", np.array([more.get(name[0], 0) for name in component_moves(component)], np.float32))
    model = export_recognizer(nlp, tmp_path / "staging")
    sizes: list[int] = []
    run = GraphSession.run

    def counting(session, outputs, feeds, watch):
        if "preactivation" in feeds:  # this is the graph of tokens, not the graph of word types
            sizes.append(len(feeds["preactivation"]))
        return run(session, outputs, feeds, watch)

    monkeypatch.setattr(GraphSession, "run", counting)
    context = model.backend.model.spec.ner.context
    for words in (3000, 6000, 12_000):
        text = "word " * words
        sizes.clear()
        (found,) = model.recognize([text], NONE)
        assert [(entity.start, entity.end) for entity in found.entities] == [(0, len(text) - 1)]
        assert len(sizes) == -(-words // network_runner.RUN_TOKENS)
        assert sum(sizes) <= words + (4 * context + 1) * len(sizes)
        assert differing(original_entities(nlp, [text]), [found]) == []


def test_sentence_starts_count_characters(nlp, made):
    texts = ["😀é Ann met Bo. Cy met Di in Paris, she said."] * 2
    starts = [[0, 15], [0, 3, 7]]
    assert texts[0][15:17] == "Cy"
    with nlp.select_pipes(disable=["parser"]):
        expected = original_entities(nlp, texts, starts)
    assert differing(expected, made["given"].recognize(texts, RecognizeOptions(sentence_starts=starts))) == []
