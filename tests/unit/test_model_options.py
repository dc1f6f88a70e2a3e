"""The options of a model that apply when it is opened: identity, preload and max_tokens."""

import hashlib
from pathlib import Path

import pytest
from onnx_ml_bridge import ArtifactError, ConfigError, Embedder, Model, OnnxMlBridge
from onnx_ml_bridge.runtime.session import GraphSession

VALID = Path(__file__).parents[1] / "golden/valid"
EMBEDDING = VALID / "tiny-embedding"
LONG = "the cat sings and the dog reads " * 20
pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture
def loads(monkeypatch):
    """The paths of the graphs that were loaded."""
    paths = []
    load = GraphSession.load
    monkeypatch.setattr(GraphSession, "load", lambda self: (paths.append(self._path), load(self)))
    return paths


def test_a_pinned_identity_is_checked_before_anything_is_loaded(loads):
    identity = hashlib.sha256((EMBEDDING / "manifest.json").read_bytes()).hexdigest()
    assert Embedder.open(Model(EMBEDDING, identity=identity)).info.identity == identity
    with pytest.raises(ArtifactError, match=identity) as refused:
        Embedder.open(Model(EMBEDDING, identity="0a" * 32, preload=True))
    assert refused.value.code == "identity" and not loads


@pytest.mark.parametrize("wrong", ["0A" * 32, "0a", 7])
def test_an_identity_is_64_digits_in_lower_case(wrong):
    with pytest.raises(ConfigError, match="identity"):
        Embedder.open(Model(EMBEDDING, identity=wrong))


def test_only_models_with_preload_load_their_graphs_when_opened(loads):
    OnnxMlBridge.open(Model(EMBEDDING, "a"), Model(EMBEDDING, "b", preload=True))
    assert len(loads) == 1
    Embedder.open(Model(EMBEDDING, preload=True))
    assert len(loads) == 2


def test_nothing_is_loaded_if_another_model_has_the_same_name(loads):
    model = Model(EMBEDDING, "a", preload=True)
    with pytest.raises(ConfigError, match="two models"):
        OnnxMlBridge.open(model, model)
    with pytest.raises(ConfigError, match="defaults"):
        OnnxMlBridge.open(model, defaults={"embedding": "b"})
    assert not loads


def test_max_tokens_truncates_earlier_than_the_model():
    counts = [
        Embedder.open(Model(EMBEDDING, max_tokens=limit)).embed([LONG, "cat"]).token_counts.tolist()
        for limit in (None, 48, 9)
    ]
    assert counts[0] == counts[1] and counts[0][0] == 48
    assert counts[2] == [9, counts[0][1]]


@pytest.mark.families("spacy_ner", "rerank", "summarization", "token_classification")
@pytest.mark.parametrize("name", ["tiny-rerank", "tiny-summary", "tiny-ner"])
def test_max_tokens_is_not_above_that_of_the_model(name):
    OnnxMlBridge.open(Model(VALID / name, max_tokens=8))
    with pytest.raises(ConfigError, match="max_tokens"):
        OnnxMlBridge.open(Model(VALID / name, max_tokens=100_000))
    with pytest.raises(ConfigError, match="max_tokens"):
        OnnxMlBridge.open(Model(VALID / name, max_tokens=1))


@pytest.mark.families("spacy_ner")
def test_a_spacy_model_has_no_limit():
    with pytest.raises(ConfigError, match="no limit"):
        OnnxMlBridge.open(Model(VALID / "tiny-spacy", max_tokens=8))


@pytest.mark.parametrize("field", ["workers", "run_tokens", "max_tokens", "idle_unload"])
@pytest.mark.parametrize("value", [0, -1, "2", True])
def test_numbers_are_above_zero(field, value):
    with pytest.raises(ConfigError, match=field):
        Embedder.open(Model(EMBEDDING, **{field: value}))


@pytest.mark.parametrize("field", ["preload", "merge"])
def test_flags_are_booleans(field):
    with pytest.raises(ConfigError, match=field):
        Embedder.open(Model(EMBEDDING, **{field: 1}))
