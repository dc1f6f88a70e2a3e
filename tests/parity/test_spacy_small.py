"""Exports of small pipelines with networks of all shapes and the rules of several languages return spaCy's entities."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from onnx_ml_bridge import RecognizeOptions, Recognizer
from onnx_ml_bridge.parity.spacy_ner import original_entities, some_sentence_starts
from onnx_ml_bridge.runtime.entities import Entities
from onnx_ml_bridge.runtime.spacy_ner.tree import Tree
from small_pipelines import ALL_ATTRIBUTES, LABELS, clear_texts, component_moves, make_pipeline
from spacy.language import Language
from spacy_exports import check_offsets, check_tokens, differing, export_recognizer, ner_sample

# A text is not compared if the scores of the two best moves in a state are closer than this. The order in which about
# ten numbers are added changes a sum by only a hundredth of this margin.
MARGIN = 1e-4
SEED = 5
NETWORKS: dict[str, dict[str, Any]] = {
    "as trained pipelines have it": {"depth": 4, "width": 16, "hidden": 12},
    "one layer": {"depth": 1},
    "windows of two": {"window": 2},
    "one piece": {"pieces": 1},
    "two pieces": {"pieces": 2},
    "states of three pieces": {"state_pieces": 3},
    "one attribute": {"attributes": ("ORTH",)},
    "all attributes": {"attributes": ALL_ATTRIBUTES},
    "an attribute twice": {"attributes": ("LOWER", "SPACY", "LOWER")},
    "static vectors": {"vectors": True},
    "a shared tok2vec": {"listeners": ("ner",), "attributes": ALL_ATTRIBUTES, "vectors": True},
    "L before I": {"last_first": True},
    "one label": {"labels": ("ONLY",)},
    "many labels": {"labels": tuple(f"LABEL_{number}" for number in range(9)), "hidden": 16},
}
PARSERS: dict[str, dict[str, Any]] = {
    "own": {"state_pieces": 3, "window": 2},
    "shared": {"listeners": ("ner", "parser"), "attributes": (*ALL_ATTRIBUTES[:4], "SPACY", "IS_SPACE")},
    "parser alone shared": {"listeners": ("parser",), "vectors": True, "pieces": 2},
}


@pytest.fixture
def exported(tmp_path) -> Callable[..., Recognizer]:
    return lambda nlp, sentences="none": export_recognizer(nlp, tmp_path / "staging", sentences)


def sample() -> list[str]:
    return ner_sample("en", 110, SEED, 20)


def check(nlp: Language, recognizer: Recognizer, texts: list[str], starts: Any = None) -> list[Entities]:
    clear = set(clear_texts(nlp, texts, MARGIN)) if starts is None else set(texts)
    expected = original_entities(nlp, texts, starts)
    found = recognizer.recognize(texts, RecognizeOptions(sentence_starts=starts))
    assert not [texts[index] for index in differing(expected, found) if texts[index] in clear]
    # Texts with nearly equal scores are not compared, because their entities can depend on the CPU. At most 3% of the
    # texts may have such scores.
    assert len(clear) >= 0.97 * len(set(texts))
    assert check_offsets(texts, found) == sum(len(each.entities) for each in expected)
    return found


def check_variety(found: list[Entities], labels: tuple[str, ...] = LABELS) -> None:
    """Assert that the entities vary, because constant answers would not reveal errors."""
    entities = [entity for each in found for entity in each.entities]
    assert set(labels) == {entity.label for entity in entities}
    assert len(entities) > 150
    assert sum(" " in entity.text for entity in entities) > 30


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_networks(exported, options):
    nlp = make_pipeline(**options)
    recognizer = exported(nlp)
    assert recognizer.backend.model.spec.ner.tie == ("last" if options.get("last_first") else "in")
    texts = sample()
    check_variety(check(nlp, recognizer, texts), options.get("labels", LABELS))


@pytest.mark.parametrize("options", PARSERS.values(), ids=PARSERS)
def test_the_whole_pipeline_with_its_parser(exported, options, monkeypatch):
    labels = Counter[str]()
    starts = Tree.sentence_starts
    monkeypatch.setattr(Tree, "sentence_starts", lambda tree: labels.update(tree._labels) or starts(tree))
    nlp = make_pipeline(parser=True, **options)
    texts = sample()
    found = check(nlp, exported(nlp, "parser"), texts)
    check_variety(found)
    docs = list(nlp.pipe(texts))
    sentences = sum(1 for doc in docs for _ in doc.sents)
    assert 100 < sentences < sum(map(len, docs)) / 1.5
    used = {name[2:] for name in component_moves(nlp.get_pipe("parser")) if name[0] in "LR"}
    assert used <= set(labels), "some label was never given, decorated ones among them"
    # Without the parser's sentences, the entities differ, which shows that the test would detect wrong sentences
    with nlp.select_pipes(disable=["parser"]):
        assert differing(original_entities(nlp, texts), found)


@pytest.mark.parametrize("options", [{}, {"listeners": ("ner",)}, {"last_first": True}], ids=str)
def test_given_sentences(exported, options):
    nlp = make_pipeline(**options)
    texts = sample()
    source = random.Random(3)
    drawn = [[token.idx for token in nlp.make_doc(text) if source.random() < 0.3] for text in texts]
    recognizer = exported(nlp, "given")
    found = check(nlp, recognizer, texts, drawn)
    assert differing(original_entities(nlp, texts), found), "sentence starts make no difference"
    check(nlp, recognizer, texts, some_sentence_starts(nlp, texts))


def test_the_component_alone_out_of_a_pipeline_with_a_parser(exported):
    nlp = make_pipeline(parser=True, listeners=("ner", "parser"))
    recognizer = exported(nlp)
    assert (
        list(recognizer.backend.model.graphs) == ["spacy_ner", "spacy_ner_types"]
        and recognizer.backend.model.spec.parser is None
    )
    with nlp.select_pipes(disable=["parser"]):
        check(nlp, recognizer, sample())


# The tokenizers of these languages have special rules, norms or letters
@pytest.mark.parametrize("language", ["fr", "es", "el", "tr"])
def test_other_languages(exported, language):
    nlp = make_pipeline(language, vectors=True)
    recognizer = exported(nlp)
    texts = ner_sample(language if language in ("fr", "es") else "en", 200, SEED, 40)
    chunks = sorted(nlp.tokenizer.rules)[:: max(1, len(nlp.tokenizer.rules) // 100)]
    texts = [*texts, *chunks, " ".join(chunks), *(f"({chunk}).{chunk}" for chunk in chunks)]
    assert check_tokens(nlp, recognizer.backend.model, texts) > 4000
    check(nlp, recognizer, texts[:100])


@pytest.mark.parametrize("last_first", [False, True])
def test_ties_go_to_the_first_move(exported, last_first):
    nlp = make_pipeline(last_first=last_first)
    texts = sample()
    usual = original_entities(nlp, texts)
    make_equal(nlp, LABELS)
    expected = original_entities(nlp, texts)
    assert differing(expected, exported(nlp).recognize(texts, RecognizeOptions())) == []
    lengths = [(sum(e.end - e.start for e in each.entities)) for each in (*usual, *expected)]
    without, with_ties = sum(lengths[: len(usual)]), sum(lengths[len(usual) :])
    assert with_ties < without if last_first else with_ties > without, (without, with_ties)


def make_equal(nlp: Language, labels: tuple[str, ...]) -> None:
    """Copy the weights of the moves L- (last token) to the moves I- (inside), so that both have equal scores."""
    component = nlp.get_pipe("ner")
    upper, names = component.model.layers[2], component_moves(component)
    weight, bias = upper.get_param("W").copy(), upper.get_param("b").copy()
    within, last = ([names.index(f"{kind}-{label}") for label in labels] for kind in "IL")
    weight[within], bias[within] = weight[last], bias[last]
    upper.set_param("W", weight)
    upper.set_param("b", bias)
