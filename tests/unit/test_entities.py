"""Named entities of both engines: offsets, agreement, golden cases and the calls of the bridge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples import examples_of
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import (
    ConfigError,
    InferenceError,
    InputError,
    Model,
    OnnxMlBridge,
    RecognizeOptions,
    Recognizer,
    TaskNotLoadedError,
)
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.golden import read_golden, write_golden
from onnx_ml_bridge.artifacts.ner import NER, EntityCase, ExpectedEntity
from onnx_ml_bridge.runtime.entities import Entities, Entity, EntitySpan, entities_from_spans
from onnx_ml_bridge.runtime.entity_agreement import LabelAgreement, agreement

EXAMPLES = examples_of(NER)
every_example = pytest.mark.parametrize(
    ("family", "folder"), EXAMPLES.items(), ids=[family.name for family in EXAMPLES]
)
every_name = pytest.mark.parametrize("name", [family.name for family in EXAMPLES])
# Characters of 1 to 4 bytes in UTF-8 and of 1 or 2 code units in UTF-16: offsets in these units differ.
ODD = "aé\u0301€😀👩\u200d\n\x00"
TEXTS = st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from(ODD)), max_size=60)


@given(TEXTS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8))
def test_offsets_in_every_unit_select_the_text_of_the_entity(text, pairs):
    spans = [sorted((min(a, len(text)), min(b, len(text)))) for a, b in pairs]
    entities = entities_from_spans(text, [EntitySpan(start, end, "X", 0.5) for start, end in spans])
    assert [(entity.start, entity.end) for entity in entities] == [tuple(span) for span in spans]
    for entity in entities:
        assert entity.text == text[entity.start : entity.end]
        assert entity.text.encode() == text.encode()[entity.start_byte : entity.end_byte]
        start, end = entity.utf16_range(text)
        assert entity.text.encode("utf-16-le") == text.encode("utf-16-le")[2 * start : 2 * end]
        assert (entity.label, entity.score) == ("X", 0.5)


def test_offsets_by_hand():
    text = "a😀é Zoë"
    (entity,) = entities_from_spans(text, [EntitySpan(4, 7, "PERSON")])
    assert entity == Entity("Zoë", "PERSON", 4, 7, 8, 12, None)
    assert entity.utf16_range(text) == (5, 8)


@pytest.mark.parametrize("other", ["", "a😀é Zoe", "xa😀é Zoë", "a😀é Zo"])
def test_utf16_range_refuses_another_text(other):
    (entity,) = entities_from_spans("a😀é Zoë", [EntitySpan(4, 7, "PERSON")])
    with pytest.raises(ValueError, match="4:7"):
        entity.utf16_range(other)


# -- Counts of equal and different entities


def expected(*triples: Any) -> list[ExpectedEntity]:
    return [ExpectedEntity(start, end, label, score[0] if score else None) for start, end, label, *score in triples]


def found(*triples: Any) -> Entities:
    made = [
        Entity("", label, start, end, start, end, score[0] if score else None) for start, end, label, *score in triples
    ]
    return Entities(tuple(made), 9, False)


def test_agreement_by_hand():
    counted = agreement(
        [expected((0, 1, "A"), (2, 3, "B")), expected((0, 1, "A")), expected(), expected((5, 6, "B"), (7, 8, "B"))],
        [found((0, 1, "A"), (2, 3, "B")), found((0, 1, "B")), found(), found((7, 8, "B"), (5, 6, "B"))],
    )
    assert (counted.documents, counted.differing) == (4, (1, 3))  # document 3 differs in the order of its entities
    assert counted.labels == {"A": LabelAgreement(2, 1, 1), "B": LabelAgreement(3, 4, 3)}
    assert counted.labels["A"].f1 == pytest.approx(2 / 3) and counted.labels["B"].f1 == pytest.approx(6 / 7)
    assert counted.entity_f1 == pytest.approx(8 / 10)
    assert counted.metrics() == {"differing": 2.0, "entity_f1": 0.8}


def test_an_entity_that_occurs_twice_counts_twice():
    counted = agreement([expected((0, 1, "A"), (0, 1, "A"))], [found((0, 1, "A"))])
    assert counted.labels == {"A": LabelAgreement(2, 1, 1)} and counted.differing == (0,)


def test_documents_without_entities_agree():
    counted = agreement([expected()], [found()])
    assert counted.metrics() == {"differing": 0.0, "entity_f1": 1.0}
    assert agreement([expected((0, 1, "A"))], [found()]).entity_f1 == 0.0


def test_scores_of_common_entities_are_compared():
    counted = agreement(
        [expected((0, 1, "A", 0.5), (2, 3, "A", 0.25)), expected((0, 1, "A", 0.5))],
        [found((0, 1, "A", 0.625), (2, 4, "A", 0.99)), found((0, 1, "A", 0.5))],
    )
    assert counted.score_max_abs == 0.125 and counted.metrics()["score_max_abs"] == 0.125
    assert agreement([expected((0, 1, "A"))], [found((0, 1, "A"))]).score_max_abs is None


# -- Golden cases of entities


CASES = st.builds(
    EntityCase,
    input=TEXTS,
    aggregation_strategy=st.none() | st.sampled_from(["simple", "max"]),
    stride=st.none() | st.integers(0, 99),
    sentence_starts=st.none() | st.lists(st.integers(0, 9)).map(tuple),
    entities=st.lists(
        st.builds(
            ExpectedEntity,
            st.integers(0, 99),
            st.integers(0, 99),
            st.text("ABC-", min_size=1),
            st.none() | st.floats(0, 1),
        )
    ).map(tuple),
    tokens=st.integers(0, 10**6),
    truncated=st.booleans(),
)


@given(CASES)
def test_a_case_is_unchanged_after_writing_and_reading_it(case):
    assert EntityCase.from_record(json.loads(json.dumps(case.to_record()))) == case


CASE = EntityCase("Ann", None, None, (0,), (ExpectedEntity(0, 3, "PERSON", 0.5),), 1, False).to_record()


def changed(*path: Any, to: Any = None, drop: bool = False, key: str = "") -> dict[str, Any]:
    record = json.loads(json.dumps(CASE))
    index = record
    for step in path[:-1]:
        index = index[step]
    if drop:
        del index[path[-1]]
    else:
        index[key or path[-1]] = to
    return record


@pytest.mark.parametrize(
    "record",
    [
        changed("input", to=5),
        changed("input", drop=True),
        changed("input", key="extra", to=1),
        changed("settings", "stride", to=1.0),
        changed("settings", "stride", to=True),
        changed("settings", "stride", to=-1),
        changed("settings", "stride", drop=True),
        changed("settings", "stride", key="prompt_name", to=None),
        changed("settings", "aggregation_strategy", to=1),
        changed("settings", "sentence_starts", to=[0.0]),
        changed("settings", "sentence_starts", to="0"),
        changed("settings", "sentence_starts", to=[-1]),
        changed("expected", "tokens", to=1.0),
        changed("expected", "tokens", to="1"),
        changed("expected", "tokens", to=-1),
        changed("expected", "truncated", to=0),
        changed("expected", "truncated", drop=True),
        changed("expected", "entities", to=None),
        changed("expected", "entities", to=[{}]),
        changed("expected", "entities", 0, "start", to=0.0),
        changed("expected", "entities", 0, "start", to=-1),
        changed("expected", "entities", 0, "end", to="3"),
        changed("expected", "entities", 0, "label", to=None),
        changed("expected", "entities", 0, "score", to="0.5"),
        changed("expected", "entities", 0, "score", to=True),
        changed("expected", "entities", 0, "score", drop=True),
        changed("expected", "entities", 0, "score", key="text", to="Ann"),
        [],
        "Ann",
        None,
    ],
)
def test_invalid_cases_are_refused(record, tmp_path):
    (tmp_path / "golden.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ArtifactError) as refused:
        read_golden(tmp_path / "golden.jsonl", EntityCase)
    assert refused.value.code == "golden"


def test_a_valid_case_is_accepted(tmp_path):
    case = EntityCase.from_record(CASE)
    write_golden([case, case], tmp_path / "golden.jsonl")
    assert read_golden(tmp_path / "golden.jsonl", EntityCase) == [case, case]


# -- Calls of `OnnxMlBridge`


@pytest.fixture(scope="module")
def bridge() -> OnnxMlBridge:
    """A bridge with the example artifact of every family of the task `ner`, the first of them under two names."""
    first = next(iter(EXAMPLES.values()))
    return OnnxMlBridge.open(
        Model(first, "again"), *(Model(folder, family.name) for family, folder in EXAMPLES.items())
    )


@every_example
def test_a_single_model_is_used_without_its_name(family, folder):
    bridge = OnnxMlBridge.open(folder)
    (name,) = (info.name for info in bridge.models())
    assert name == folder.name
    text = "Ann met Bo in Paris."
    assert bridge.extract_entities(text) == bridge.extract_entities(text, model=name)
    with pytest.raises(InputError, match=name) as refused:
        bridge.extract_entities("x", model="other")
    assert refused.value.code == "model_not_found"


@every_example
def test_a_model_is_selected_by_name(bridge, family, folder):
    texts = ["the cat, Ann (Bo) on Paris!", "", "a big red house sings"]
    alone = Recognizer.open(folder).recognize(texts, RecognizeOptions())
    assert alone[0].entities and bridge.recognizer(family.name).recognize(texts) == alone
    assert bridge.extract_entities_batch(texts, model=family.name) == [list(each.entities) for each in alone]
    assert bridge.extract_entities(texts[0], model=family.name) == list(alone[0].entities)
    others = [bridge.recognizer(other.name).recognize(texts) for other in EXAMPLES if other is not family]
    assert alone not in others


def test_a_name_is_required_if_several_models_are_open(bridge):
    names = ["again", *(family.name for family in EXAMPLES)]
    assert [info.name for info in bridge.models()] == names
    for name in (None, "", "Again"):
        with pytest.raises(InputError, match=", ".join(sorted(names))) as refused:
            bridge.extract_entities("x", model=name)
        assert refused.value.code == "model_not_found"


def test_a_call_without_a_model_of_its_task_is_refused(bridge):
    with pytest.raises(TaskNotLoadedError, match="task ner") as refused:
        OnnxMlBridge([]).extract_entities("x")
    assert refused.value.code == "task_not_loaded"
    with pytest.raises(TaskNotLoadedError, match="task embedding"):
        bridge.generate_embedding("x")


@every_example
def test_a_variant_can_be_selected_for_each_model(family, folder):
    with pytest.raises(ConfigError, match="option variant"):
        OnnxMlBridge.open(Model(folder, variant={"ner": "int8"}))
    with pytest.raises(ArtifactError, match="fp32"):
        OnnxMlBridge.open(Model(folder, variant="int4"))
    for variant in family.gates:
        assert OnnxMlBridge.open(Model(folder, variant=variant)).recognizer().info.variant == variant


@every_name
@pytest.mark.parametrize(
    ("texts", "code", "index"),
    [
        (["a", 5], "input_type", 1),
        (["a", "b", None], "input_type", 2),
        ([b"bytes"], "input_type", 0),
        (["ok", "lone \ud800 surrogate"], "input_text", 1),
        (["ok", "x" * 1_000_001], "input_too_large", 1),
        ("one text", "input_type", None),
        (b"bytes", "input_type", None),
    ],
)
def test_bad_texts_are_refused_with_their_index(bridge, name, texts, code, index):
    with pytest.raises(InputError) as refused:
        bridge.recognizer(name).recognize(texts)
    assert (refused.value.code, refused.value.index) == (code, index)


@every_name
def test_an_empty_list_of_texts_has_no_answers(bridge, name):
    assert bridge.recognizer(name).recognize([]) == [] and bridge.extract_entities_batch([], model=name) == []


def test_the_health_check_fails_if_one_model_fails(bridge, monkeypatch):
    bridge.self_test()
    assert bridge.health_check() and not OnnxMlBridge([]).health_check()

    def fails(*_arguments: object) -> None:
        raise InferenceError("broken")

    backend = bridge.recognizer("again").backend
    with monkeypatch.context() as broken:
        broken.setattr(backend, "_recognize_batch" if hasattr(backend, "_recognize_batch") else "_check_logits", fails)
        with pytest.raises(InferenceError, match="broken"):
            bridge.self_test()
        assert not bridge.health_check()
        assert [each.name for each in bridge.status() if each.state == "failed"] == ["again"]
    bridge.self_test()
    assert bridge.health_check()
