"""Exports return the entities of the transformers pipeline, with all tokenizers and strategies, and with windows."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ml_bridge import BridgeOptions, Model, RecognizeOptions, Recognizer
from onnx_ml_bridge.artifacts.errors import ArtifactError, ConfigError, InferenceError, InputError
from onnx_ml_bridge.artifacts.ner import STRATEGIES
from onnx_ml_bridge.parity.ner.original import OriginalEntities
from onnx_ml_bridge.runtime.entities import Entities
from onnx_ml_bridge.runtime.entity_agreement import agreement
from onnx_ml_bridge.runtime.session import GraphSession, create_session
from onnx_ml_bridge.runtime.verify import verify
from small_models import POSITIONS
from small_token_classifiers import LABELS, TOKEN_CLASSIFIERS
from token_classifier_exports import (
    KINDS,
    MAX_TOKENS,
    STRIDES,
    SmallTokenClassifier,
    golden_cases,
    seal_token_classifier,
    token_classifier_texts,
)

TOLERANCE = 1e-5

pytestmark = pytest.mark.usefixtures("one_thread")
every_token_classifier = pytest.mark.parametrize("name", sorted(TOKEN_CLASSIFIERS))
every_kind = pytest.mark.parametrize("name", KINDS)


def check(
    small: SmallTokenClassifier, texts: Sequence[str], strategy: str, stride: int | None = None
) -> list[Entities]:
    """Assert that the runtime returns the entities of the original pipeline, and return them."""
    expected = small.original(texts, strategy, stride)
    found = small.classifier(threads=1).recognize(texts, RecognizeOptions(aggregation_strategy=strategy, stride=stride))
    compared = agreement([each.entities for each in expected], found)
    assert compared.differing == (), [texts[index] for index in compared.differing]
    assert counts(expected) == counts(found)
    assert compared.score_max_abs is not None and compared.score_max_abs <= TOLERANCE
    for text, each in zip(texts, found, strict=True):
        for entity in each.entities:
            assert entity.text == text[entity.start : entity.end]
            assert entity.text.encode() == text.encode()[entity.start_byte : entity.end_byte]
    return found


def counts(answers: Sequence[OriginalEntities | Entities]) -> list[tuple[int, bool]]:
    return [(answer.tokens, answer.truncated) for answer in answers]


def test_the_texts_are_varied():
    texts = token_classifier_texts()
    whole = "".join(texts)
    names = {unicodedata.name(character, "").split(" ")[0] for character in whole}
    assert {"LATIN", "CYRILLIC", "CJK", "HEBREW", "ARABIC", "HANGUL", "COMBINING", "ZERO", "NO-BREAK"} <= names
    assert {"", " ", "\u00a0"} <= set(texts) and "\r\n" in whole and "👩‍👩‍👧" in whole and "[SEP]" in whole
    assert max(len(word) for text in texts for word in text.split()) >= 300
    assert 55 <= len(texts) <= 80


@every_kind
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_texts_cut_to_the_limit(token_classifier, name, strategy):
    """The measured maximum difference between scores of the runtime and of the original is 3.3e-6."""
    found = check(token_classifier(name), token_classifier_texts(), strategy)
    assert 10 < sum(each.truncated for each in found) < len(found)


@every_kind
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_texts_read_in_windows(token_classifier, name, strategy, stride):
    """The measured maximum difference between scores of the runtime and of the original is 3.4e-6."""
    found = check(token_classifier(name), token_classifier_texts(), strategy, stride)
    assert max(each.tokens for each in found) > 20 * MAX_TOKENS
    assert not any(each.truncated for each in found)


@pytest.mark.parametrize("name", ["camembert", "electra"])
@pytest.mark.parametrize(("strategy", "stride"), [("none", None), ("average", 9)])
def test_the_other_architectures(token_classifier, name, strategy, stride):
    check(token_classifier(name), token_classifier_texts(), strategy, stride)


@every_kind
def test_the_answers_of_the_models_vary(token_classifier, name):
    """Every label has the highest score for some token, and adjacent tokens often have different labels.

    Some tokens nevertheless form groups. Half of the scores are above 0.45.
    """
    small = token_classifier(name)
    tokens = small.original(token_classifier_texts(), "none")
    groups = small.original(token_classifier_texts(), "simple")
    found = [entity for each in tokens for entity in each.entities]
    assert {entity.label for entity in found} == set(LABELS) - {"O"}
    assert np.median([entity.score for entity in found]) > 0.45
    assert len({entity.label for each in groups for entity in each.entities} - {"MAIL", "GEO-LOC", "ORG", "PER"}) == 1
    joined, words = (
        sum(len(each.entities) for each in answers)
        for answers in (groups, small.original(token_classifier_texts(), "first"))
    )
    assert words < 0.8 * joined < 0.8 * len(found)


@pytest.mark.parametrize(("name", "subwords"), [("bert", "length"), ("roberta", "space"), ("deberta-v2", "space")])
def test_strategies_and_strides_differ(token_classifier, name, subwords):
    """The original's answers depend on the strategy and the stride, so that the other tests detect a wrong one."""
    small = token_classifier(name)
    assert small.export.token_classification.subwords == subwords
    settings = [(strategy, None) for strategy in STRATEGIES] + [("simple", stride) for stride in STRIDES]
    answers = [small.original(token_classifier_texts(), *setting) for setting in settings]
    for index, one in enumerate(answers):
        for other in answers[index + 1 :]:
            assert sum(a.entities != b.entities for a, b in zip(one, other, strict=True)) >= 5


def test_an_empty_first_entity_of_windows_comes_twice(token_classifier):
    """With windows, the original returns the first entity twice if it is a space token, and so does the runtime."""
    small = token_classifier("roberta")
    words = ("Anna", "in", "x", "7", "é")
    texts = [f"{' ' * blanks}{word} {'and so on ' * 12}" for blanks in range(2, 6) for word in words]
    found = check(small, texts, "simple", 5)
    assert any(each.entities[0] == each.entities[1] and not each.entities[0].text for each in found)


def test_texts_cut_on_the_left(token_classifier):
    """RoBERTa can also be padded on the left, because it numbers positions from the first token that is not padding."""
    small = token_classifier("roberta", tokenizer={"truncation_side": "left", "padding_side": "left"})
    assert small.export.tokenizer.truncation_side == small.pipeline.tokenizer.truncation_side == "left"
    for strategy, stride in (("simple", None), ("average", None), ("average", 9), ("simple", 0)):
        check(small, token_classifier_texts(), strategy, stride)
    text = "Anna " * 100
    last = small.classifier().recognize([text], RecognizeOptions(aggregation_strategy="none"))[0].entities[-1]
    assert last.start >= len(text) - 5


def test_no_limit_of_its_own(token_classifier):
    """If the tokenizer has no limit, the number of positions is the limit."""
    small = token_classifier("bert", model_max_length=None, tokenizer={"truncation_side": "left"})
    assert small.export.tokenizer.max_tokens == POSITIONS
    found = check(small, token_classifier_texts(), "simple")
    assert any(each.truncated for each in found)
    check(small, token_classifier_texts(), "average", 40)


def with_spec(small: SmallTokenClassifier, **changes) -> SmallTokenClassifier:
    """Return the export with other defaults in its section of the manifest."""
    spec = replace(small.export.token_classification, **changes)
    return replace(small, export=replace(small.export, token_classification=spec))


def test_ignored_labels(token_classifier):
    """`ignore_labels` names full labels for the strategy `none`, and labels without their prefix for the others."""
    ignored = ("PER", "B-ORG", "MAIL")
    small = with_spec(token_classifier("distilbert"), ignore_labels=ignored)
    for strategy in ("none", "simple", "first"):
        found = check(small, token_classifier_texts(), strategy)
        labels = {entity.label for each in found for entity in each.entities}
        whole = {"B-PER", "I-ORG", "E-MAIL", "O"}
        assert labels & {*whole, *ignored, "ORG"} == (whole if strategy == "none" else {"O", "ORG"})


@every_token_classifier
def test_any_batch_gives_the_same_entities(token_classifier, name):
    small, texts = token_classifier(name), token_classifier_texts()[::2]
    for options in (
        RecognizeOptions(aggregation_strategy="none"),
        RecognizeOptions(aggregation_strategy="average", stride=5),
    ):
        alone = [small.classifier(threads=1).recognize([text], options)[0] for text in texts]
        for budget in (1, 100, 4096):
            assert same(small.classifier(threads=1, token_budget=budget).recognize(texts, options), alone)
        order = np.random.default_rng(0).permutation(len(texts))
        shuffled = small.classifier(threads=1).recognize([texts[index] for index in order], options)
        assert same(shuffled, [alone[index] for index in order])


def same(found: Sequence[Entities], expected: Sequence[Entities]) -> bool:
    compared = agreement([each.entities for each in expected], found)
    return compared.differing == () and compared.score_max_abs <= 1e-6 and counts(found) == counts(expected)


LENGTHS = (2, 3, 8, 33, 129, 257, 511, 513, 700)


@pytest.mark.parametrize("conv", [0, 3])
def test_deberta_at_every_length(token_classifier, conv):
    """The model has 256 buckets and 512 positions, as real models have; some texts are longer."""
    config = {"position_buckets": 256, "max_position_embeddings": 512, "conv_kernel_size": conv, "conv_act": "gelu"}
    config |= {"share_att_key": conv == 0, "type_vocab_size": conv}
    small = token_classifier("deberta-v2", model_max_length=700, config=config)
    session = create_session(small.staging / small.graphs["fp32"].file, 1)
    names = [tensor.name for tensor in small.graphs["fp32"].inputs]
    assert ("token_type_ids" in names) == (conv > 0)
    for length in LENGTHS:
        ids = torch.randint(5, 2000, (2, length), generator=torch.Generator().manual_seed(length))
        mask = torch.ones_like(ids)
        mask[1, length - length // 3 :] = 0
        with torch.no_grad():
            expected = small.pipeline.model.__class__.forward(small.pipeline.model, input_ids=ids, attention_mask=mask)
        feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": np.zeros_like(ids)}
        (found,) = session.run(["logits"], {key: feeds[key] for key in names})
        worst = np.abs(found - expected.logits.numpy())[mask.numpy() == 1].max()
        assert worst <= 2e-5 * float(expected.logits.abs().max()), length
        assert np.ptp(expected.logits.numpy(), axis=1).max() > 1


def test_deberta_computes_no_logarithm(token_classifier):
    """The graph finds the bucket of a distance without a logarithm, whose last bit depends on the engine."""
    graph = ir.load(token_classifier("deberta-v2").staging / "onnx/model.onnx").graph
    assert not {"Log", "Ceil"} & {node.op_type for node in graph}


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        (RecognizeOptions(aggregation_strategy="none", stride=5), ConfigError, "none"),
        (RecognizeOptions(aggregation_strategy="simple", stride=22), ConfigError, "0 to 21"),
        (RecognizeOptions(aggregation_strategy="simple", stride=-1), ConfigError, "0 to 21"),
        (RecognizeOptions(aggregation_strategy="simple", stride=True), ConfigError, "True"),
        (RecognizeOptions(aggregation_strategy="simple", stride=5.0), ConfigError, "5.0"),
        (RecognizeOptions(aggregation_strategy="best"), ConfigError, "'best'"),
        (RecognizeOptions(aggregation_strategy="SIMPLE"), ConfigError, "'SIMPLE'"),
        (RecognizeOptions(sentence_starts=[[0]]), InputError, "sentence starts"),
    ],
)
def test_invalid_settings_are_refused(token_classifier, options, error, word):
    classifier = token_classifier("bert").classifier()
    for call in (lambda: classifier.backend.check(options), lambda: classifier.recognize(["x"], options)):
        with pytest.raises(error, match=word) as refused:
            call()
        assert refused.value.code == ("sentence_starts" if error is InputError else "config")


def test_the_largest_stride_is_accepted(token_classifier):
    check(token_classifier("bert"), token_classifier_texts()[::9], "simple", MAX_TOKENS - 3)


def test_bad_texts_are_refused_with_their_index(token_classifier):
    classifier = token_classifier("bert").classifier(text_limit=100)
    for texts, code, index in (
        (["a", 5], "input_type", 1),
        (["a", "\ud800"], "input_text", 1),
        (["a", "b", "x" * 101], "input_too_large", 2),
        ("a", "input_type", None),
    ):
        with pytest.raises(InputError) as refused:
            classifier.recognize(texts)
        assert (refused.value.code, refused.value.index) == (code, index)


def test_values_that_are_not_finite_are_an_error(token_classifier, monkeypatch):
    classifier = token_classifier("bert").classifier()
    run = GraphSession.run
    monkeypatch.setattr(GraphSession, "run", lambda *arguments: [run(*arguments)[0] * np.float32(np.nan)])
    with pytest.raises(InferenceError, match="not finite"):
        classifier.recognize(["a"])
    monkeypatch.setattr(GraphSession, "run", lambda *arguments: [run(*arguments)[0][:, :, 1:]])
    with pytest.raises(InferenceError, match="shape"):
        classifier.recognize(["a"])


def test_defaults_are_those_of_the_manifest(token_classifier):
    small = with_spec(token_classifier("bert"), aggregation_strategy="average", stride=9)
    texts = token_classifier_texts()[::5]
    expected = small.original(texts, "average", 9)
    assert agreement([each.entities for each in expected], small.classifier().recognize(texts)).differing == ()
    with pytest.raises(ConfigError, match="none"):
        small.classifier().backend.check(RecognizeOptions(aggregation_strategy="none"))


def test_an_empty_list_of_texts(token_classifier):
    assert token_classifier("bert").classifier().recognize([]) == []


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_a_sealed_export_opens_and_replays(token_classifier, sealed_token_classifier, name):
    root = sealed_token_classifier(name)
    assert verify(root).variants.keys() == {"fp32", "int8"}
    opened = Recognizer.open(Model(root, variant="fp32"), BridgeOptions(threads=1))
    assert (opened.info.name, opened.info.version, opened.info.variant) == (name, "1", "fp32")
    expected = token_classifier(name).original(token_classifier_texts(), "simple")
    assert agreement([each.entities for each in expected], opened.recognize(token_classifier_texts())).differing == ()


def test_a_wrong_golden_case_is_detected(token_classifier, tmp_path):
    small = token_classifier("bert")
    cases = golden_cases(small, ["Anna lives in Berlin and Paris", "Berlin"], "first", None)
    swapped = [replace(cases[0], entities=cases[1].entities), cases[1]]
    with pytest.raises(ArtifactError) as refused:
        verify(seal_token_classifier(small, tmp_path / "wrong", swapped))
    assert refused.value.code == "golden"


@every_token_classifier
def test_int8_entities_are_close_to_fp32_entities(token_classifier_int8, name):
    """The measured F1 is 0.967 to 0.983; it would be higher with trained models, whose scores are less close."""
    small, quantized = token_classifier_int8(name)
    layers = 12 + (name == "electra")  # electra has one more product, which projects its embeddings
    assert len(quantized.layers) == layers and min(quantized.layers.values()) >= 38
    graph = ir.load(small.staging / small.graphs["int8"].file).graph
    products = [node for node in graph if node.op_type == "MatMul"]
    assert sum(value.is_initializer() for node in products for value in node.inputs) == 1  # only the head stays float32
    for strategy in ("simple", "average"):
        options = RecognizeOptions(aggregation_strategy=strategy, stride=5)
        exact, rounded = (
            small.classifier(variant).recognize(token_classifier_texts(), options) for variant in ("fp32", "int8")
        )
        assert 0.95 <= agreement([each.entities for each in exact], rounded).entity_f1 < 1
