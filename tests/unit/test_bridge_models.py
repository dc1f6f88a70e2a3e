"""A bridge of models by name: several models of a task, defaults, refused names and inputs, unload and close."""

from __future__ import annotations

import logging
import shutil
from typing import Any

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import (
    ArtifactError,
    BridgeOptions,
    ClosedError,
    ConfigError,
    Embedder,
    Embedding,
    Embeddings,
    EmbedOptions,
    InputError,
    Model,
    OnnxMlBridge,
    RecognizeOptions,
    Recognizer,
    Reranker,
    RerankOptions,
    SummarizeOptions,
    Summarizer,
    Task,
    TaskNotLoadedError,
    open_bridge,
)

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")
EMBEDDING, NER, SPACY, SUMMARY, RERANK = (
    VALID / f"tiny-{name}" for name in ("embedding", "ner", "spacy", "summary", "rerank")
)
MODELS = (
    Model(EMBEDDING, "exact", variant="fp32"),
    Model(EMBEDDING, "fast", variant="int8"),
    Model(NER, "tokens", variant="fp32"),
    Model(SPACY, "rules"),
    Model(SUMMARY, "short", variant="fp32"),
)
TEXTS = ["the cat, Ann (Bo) on Paris!", "", "a big red house sings"]
MESSAGES = [["the cat sings", "a dog sleeps"], ["a big red house"]]


@pytest.fixture(scope="module")
def bridge() -> OnnxMlBridge:
    """A bridge of five models, whose default for `embedding` is declared and for `ner` is not."""
    return OnnxMlBridge.open(*MODELS, defaults={Task.EMBEDDING: "fast"}, options=BridgeOptions(threads=1))


# -- Models side by side


def test_models_side_by_side_give_the_answers_of_each_alone(bridge):
    options = BridgeOptions(threads=1)
    exact, fast = (Embedder.open(model, options) for model in MODELS[:2])
    assert bridge.embedder("exact").embed(TEXTS) == exact.embed(TEXTS)
    assert bridge.embedder("fast").embed(TEXTS) == fast.embed(TEXTS) != exact.embed(TEXTS)
    tokens, rules = (Recognizer.open(model, options) for model in MODELS[2:4])
    assert bridge.recognizer("tokens").recognize(TEXTS) == tokens.recognize(TEXTS) != rules.recognize(TEXTS)
    assert bridge.recognizer("rules").recognize(TEXTS) == rules.recognize(TEXTS)
    assert bridge.summarizer("short").summarize(MESSAGES) == Summarizer.open(MODELS[4], options).summarize(MESSAGES)


@pytest.mark.parametrize(
    "call",
    [
        lambda bridge: bridge.embedder("exact").embed(TEXTS, EmbedOptions(cancel=1)),
        lambda bridge: bridge.generate_embedding(TEXTS[0], prompt_name=["query"], model="exact"),
        lambda bridge: bridge.summarizer().summarize(MESSAGES, SummarizeOptions(progress=1)),
        lambda bridge: bridge.embedder(["exact"]),
        lambda bridge: bridge.remove([]),
        lambda bridge: bridge.reload({}),
        lambda bridge: bridge.location("embeddings"),
        lambda bridge: OnnxMlBridge.open(MODELS[0], defaults="exact"),
        lambda bridge: OnnxMlBridge.open(MODELS[0], options=BridgeOptions(trusted_keys=1)),
        lambda bridge: open_bridge(b"bridge.toml"),
    ],
)
def test_values_of_another_type_are_typed_errors(bridge, call):
    with pytest.raises((ConfigError, InputError)):
        call(bridge)


def test_a_model_of_a_relative_path_is_loaded_in_another_folder(tmp_path, monkeypatch):
    shutil.copytree(MODELS[0].path, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    with Embedder.open("model") as embedder:
        monkeypatch.chdir("/")
        before = embedder.embed(TEXTS)
        embedder.unload()
        assert embedder.embed(TEXTS) == before
        assert embedder.reload(None).version == embedder.info.version


def test_shortcuts_select_a_model_by_name(bridge):
    for name in ("exact", "fast"):
        expected = bridge.embedder(name).embed(TEXTS).vectors
        np.testing.assert_array_equal(bridge.generate_embeddings_batch(TEXTS, model=name), expected)
        np.testing.assert_allclose(bridge.generate_embedding(TEXTS[0], model=name), expected[0], atol=1e-6, rtol=0)
    for name in ("tokens", "rules"):
        entities = [list(each.entities) for each in bridge.recognizer(name).recognize(TEXTS)]
        assert bridge.extract_entities_batch(TEXTS, model=name) == entities
        assert bridge.extract_entities(TEXTS[0], model=name) == entities[0]
    texts = [summary.text for summary in bridge.summarizer().summarize(MESSAGES)]
    assert bridge.summarize_batch(MESSAGES, model="short") == bridge.summarize_batch(MESSAGES) == texts
    assert bridge.summarize(MESSAGES[0], model="short") == texts[0]


def test_prompts_are_passed_to_the_model(bridge):
    options = EmbedOptions(prompt_name="query")
    expected = bridge.embedder("exact").embed(TEXTS, options).vectors
    found = bridge.generate_embeddings_batch(TEXTS, model="exact", prompt_name="query")
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(expected, bridge.generate_embeddings_batch(TEXTS, model="exact"))


def test_models_are_listed_in_the_order_in_which_they_were_opened(bridge):
    listed = [(info.name, info.task, info.variant, info.path) for info in bridge.models()]
    assert listed == [
        ("exact", Task.EMBEDDING, "fp32", str(EMBEDDING)),
        ("fast", Task.EMBEDDING, "int8", str(EMBEDDING)),
        ("tokens", Task.NER, "fp32", str(NER)),
        ("rules", Task.NER, "fp32", str(SPACY)),
        ("short", Task.SUMMARIZATION, "fp32", str(SUMMARY)),
    ]
    for info, model in zip(bridge.models(), MODELS, strict=True):
        assert info.identity == (model.path / "manifest.sha256").read_text().split()[0]
    assert (bridge.models()[3].engine, bridge.models()[0].version) == ("spacy", "1.0.0")


def test_a_model_without_a_name_has_that_of_its_manifest():
    bridge = OnnxMlBridge.open(EMBEDDING, str(RERANK), Model(NER))
    assert [info.name for info in bridge.models()] == ["tiny-embedding", "tiny-rerank", "tiny-ner"]
    assert bridge.get_embedding_model_name() == "tiny-embedding"
    assert bridge.reranker("tiny-rerank").rerank("a", ["b"]) == bridge.rerank("a", ["b"], model="tiny-rerank")


# -- Defaults and names


def test_the_default_is_the_declared_model_or_the_only_one(bridge):
    assert bridge.embedder().info.name == bridge.get_embedding_model_name() == "fast"
    assert bridge.summarizer().info.name == "short"
    assert bridge.embedder() is bridge.embedder("fast") is not bridge.embedder("exact")
    other = OnnxMlBridge.open(*MODELS[:4], defaults={"embedding": "exact", "ner": "rules"})
    assert (other.embedder().info.name, other.recognizer().info.name) == ("exact", "rules")


def test_several_models_without_a_default_require_a_name(bridge):
    with pytest.raises(InputError, match="rules, tokens") as refused:
        bridge.recognizer()
    assert refused.value.code == "model_not_found"
    with pytest.raises(InputError, match="several models for ner"):
        bridge.extract_entities("x")


@pytest.mark.parametrize("name", ["unknown", "", "Exact", "tiny-embedding", "tokens", "short"])
def test_an_unknown_name_and_that_of_another_task_are_refused(bridge, name):
    calls = (
        lambda: bridge.embedder(name),
        lambda: bridge.generate_embedding("x", model=name),
        lambda: bridge.generate_embeddings_batch(["x"], model=name),
    )
    for call in calls:
        with pytest.raises(InputError, match="exact, fast") as refused:
            call()
        assert refused.value.code == "model_not_found"


def test_a_task_without_a_model_is_named(bridge):
    for call in (bridge.reranker, lambda: bridge.rerank("a", ["b"]), lambda: bridge.reranker("exact")):
        with pytest.raises(TaskNotLoadedError, match="rerank") as refused:
            call()
        assert refused.value.code == "task_not_loaded"


@pytest.mark.parametrize(
    ("models", "named"),
    [
        ((), "at least one"),
        ((EMBEDDING, EMBEDDING), "two models named 'tiny-embedding'"),
        ((Model(EMBEDDING, "a"), Model(NER, "a")), "two models named 'a'"),
        ((Model(EMBEDDING, "tiny-ner"), NER), "two models named 'tiny-ner'"),
        ((Model(EMBEDDING, ""),), "option name"),
        ((Model(EMBEDDING, 5),), "option name"),
        ((Model(EMBEDDING, device="tpu"),), "option device, expected auto, cpu, cuda.* got 'tpu'"),
        ((Model(EMBEDDING, device=None),), "option device"),
        ((None,), "option path"),
        ((Model(5),), "option path, expected the folder of an artifact, got 5"),
        ((Model(EMBEDDING, variant=None),), "option variant"),
    ],
)
def test_invalid_models_are_refused(models, named):
    with pytest.raises(ConfigError, match=named) as refused:
        OnnxMlBridge.open(*models)
    assert refused.value.code == "config"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_known_devices_are_accepted(device):
    assert Embedder.open(Model(EMBEDDING, device=device)).embed(["a"]).vectors.shape == (1, 16)


@pytest.mark.parametrize(
    ("defaults", "named"),
    [
        ({"embedding": "unknown"}, "defaults.embedding, expected one of: exact, fast, got 'unknown'"),
        ({Task.EMBEDDING: "tokens"}, "defaults.embedding, expected one of: exact, fast"),
        ({"ner": "exact"}, "defaults.ner"),
        ({"rerank": "exact"}, "no model for rerank"),
        ({"embedding": None}, "defaults.embedding"),
        ({"sentence-embedding": "exact"}, "option defaults"),
        ({"mind-reading": "exact"}, "option defaults"),
    ],
)
def test_invalid_defaults_are_refused(defaults, named):
    with pytest.raises(ConfigError, match=named) as refused:
        OnnxMlBridge.open(*MODELS[:4], defaults=defaults)
    assert refused.value.code == "config"


@pytest.mark.parametrize("option", ["threads", "text_limit", "beam_limit"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True])
def test_invalid_limits_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        OnnxMlBridge.open(EMBEDDING, options=BridgeOptions(**{option: value}))


def test_the_limits_apply_to_all_models():
    bridge = OnnxMlBridge.open(EMBEDDING, NER, SPACY, SUMMARY, RERANK, options=BridgeOptions(text_limit=5))
    calls = (
        lambda text: bridge.generate_embedding(text),
        lambda text: bridge.extract_entities(text, model="tiny-ner"),
        lambda text: bridge.extract_entities(text, model="tiny-spacy"),
        lambda text: bridge.summarize([text]),
        lambda text: bridge.rerank("a", [text]),
    )
    for call in calls:
        call("12345")
        with pytest.raises(InputError) as refused:
            call("123456")
        assert refused.value.code == "input_too_large"
    limited = Summarizer.open(SUMMARY, BridgeOptions(beam_limit=8))
    assert limited.summarize([["a"]], SummarizeOptions(num_beams=2, min_length=0, max_length=4))
    with pytest.raises(ConfigError, match="num_beams"):
        limited.summarize([["a"]], SummarizeOptions(num_beams=3, min_length=0, max_length=4))


def test_an_artifact_is_opened_only_by_the_handle_of_its_task():
    handles = {EMBEDDING: Embedder, NER: Recognizer, SPACY: Recognizer, SUMMARY: Summarizer, RERANK: Reranker}
    for folder, handle in handles.items():
        assert handle.open(folder).info.task == handle.task
        for other in set(handles.values()) - {handle}:
            with pytest.raises(ArtifactError, match="another task") as refused:
                other.open(folder)
            assert refused.value.code == "variant"


# -- Unload and close


def test_a_call_after_unload_loads_the_graphs_again():
    bridge = OnnxMlBridge.open(*MODELS)
    bridge.warm_up()

    def answers() -> tuple[Any, ...]:
        recognized = [bridge.recognizer(name).recognize(TEXTS) for name in ("tokens", "rules")]
        return bridge.embedder("exact").embed(TEXTS), recognized, bridge.summarizer().summarize(MESSAGES)

    expected = answers()
    bridge.unload()
    session = bridge.embedder("exact").backend._session
    assert session._session is None
    assert answers() == expected and session._session is not None
    bridge.embedder("exact").unload()
    assert session._session is None and bridge.health_check()


def test_a_closed_bridge_has_no_models():
    bridge = OnnxMlBridge.open(EMBEDDING, NER)
    embedder = bridge.embedder()
    embedder.embed(TEXTS)
    bridge.close()
    assert bridge.models() == () and not bridge.health_check()
    for call in (bridge.embedder, bridge.get_embedding_model_name, lambda: bridge.extract_entities("x")):
        with pytest.raises(TaskNotLoadedError):
            call()
    bridge.close()
    bridge.warm_up()
    for call in (lambda: embedder.embed(TEXTS), lambda: embedder.embed([]), embedder.warm_up, embedder.reload):
        with pytest.raises(ClosedError, match="tiny-embedding was closed"):
            call()
    for call in (lambda: bridge.add(NER), lambda: bridge.remove("tiny-ner"), lambda: bridge.reload("tiny-ner")):
        with pytest.raises(ClosedError, match="the bridge was closed"):
            call()


def test_with_closes_the_bridge_after_an_error_too():
    with OnnxMlBridge.open(EMBEDDING) as bridge:
        assert bridge.generate_embedding("a cat").shape == (16,)
    with pytest.raises(TaskNotLoadedError):
        bridge.generate_embedding("a cat")
    with pytest.raises(ZeroDivisionError), OnnxMlBridge.open(EMBEDDING) as bridge:
        raise ZeroDivisionError
    assert bridge.models() == ()


def test_every_shortcut_warns_of_truncated_texts(caplog):
    bridge = OnnxMlBridge.open(EMBEDDING, NER, SUMMARY, RERANK)
    text = "dog " * 400
    calls = {
        "1 of 2 texts were truncated to 48 tokens": lambda: bridge.generate_embeddings_batch(["a", text]),
        "1 of 1 texts were truncated; a stride": lambda: bridge.extract_entities(text),
        "1 of 2 inputs were truncated to": lambda: bridge.summarize_batch([["a"], [text]]),
        "1 of 2 pairs were truncated to 48 tokens": lambda: bridge.rerank("a", ["a", text]),
    }
    for message, call in calls.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            call()
        assert message in caplog.text


# -- Inputs and options of a wrong type

CALLS = {
    "embed": lambda bridge, value: bridge.embedder().embed(value),
    "embed_each": lambda bridge, value: bridge.embedder().embed_each(value),
    "recognize": lambda bridge, value: bridge.recognizer("tokens").recognize(value),
    "recognize_each": lambda bridge, value: bridge.recognizer("tokens").recognize_each(value),
    "recognize, spaCy": lambda bridge, value: bridge.recognizer("rules").recognize(value),
    "recognize_each, spaCy": lambda bridge, value: bridge.recognizer("rules").recognize_each(value),
    "summarizer.summarize": lambda bridge, value: bridge.summarizer().summarize(value),
    "summarize_each": lambda bridge, value: bridge.summarizer().summarize_each(value),
    "reranker.rerank": lambda bridge, value: bridge.reranker().rerank("a query", value),
    "generate_embeddings_batch": lambda bridge, value: bridge.generate_embeddings_batch(value),
    "extract_entities_batch": lambda bridge, value: bridge.extract_entities_batch(value, model="rules"),
    "summarize": lambda bridge, value: bridge.summarize(value),
    "summarize_batch": lambda bridge, value: bridge.summarize_batch(value),
    "rerank": lambda bridge, value: bridge.rerank("a query", value),
}


@pytest.fixture(scope="module")
def whole() -> OnnxMlBridge:
    """A bridge with models of all tasks."""
    return OnnxMlBridge.open(*MODELS, Model(RERANK), defaults={"embedding": "exact"})


@pytest.mark.parametrize(
    "value", ["a text", "", b"a text", None, 5, {"a": 1}, iter(["a"])], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("name", CALLS)
def test_a_single_text_instead_of_a_list_is_refused(whole, name, value):
    with pytest.raises(InputError, match="a list is required") as refused:
        CALLS[name](whole, value)
    assert (refused.value.code, refused.value.index) == ("input_type", None)


def test_a_text_instead_of_a_list_of_messages_is_refused_with_its_index(whole):
    for call in (whole.summarizer().summarize, whole.summarize_batch):
        with pytest.raises(InputError) as refused:
            call([["a"], "text"])
        assert (refused.value.code, refused.value.index) == ("input_type", 1)
    first, second = whole.summarizer().summarize_each([["a"], "text"])
    assert first == whole.summarizer().summarize([["a"]])[0]
    assert (second.code, second.index) == ("input_type", 1)


@pytest.mark.parametrize(
    "options", ["query", 5, {"prompt_name": "query"}, object()], ids=lambda value: type(value).__name__
)
def test_options_that_are_no_options_are_refused(whole, options):
    check_options_are_refused(whole, options)


@pytest.mark.parametrize("kind", [EmbedOptions, RecognizeOptions, SummarizeOptions, RerankOptions])
def test_options_of_another_task_are_refused(whole, kind):
    check_options_are_refused(whole, kind())


def check_options_are_refused(bridge: OnnxMlBridge, options: Any) -> None:
    """Assert that no call accepts the options, except calls of the task that they are for."""
    calls = {
        EmbedOptions: [bridge.embedder().embed, bridge.embedder().embed_each],
        RecognizeOptions: [bridge.recognizer("rules").recognize, bridge.recognizer("tokens").recognize_each],
        SummarizeOptions: [bridge.summarizer().summarize, bridge.summarizer().summarize_each],
        RerankOptions: [lambda documents, options: bridge.reranker().rerank("a", documents, options)],
    }
    for call in (call for kind, each in calls.items() if kind is not type(options) for call in each):
        with pytest.raises(ConfigError, match="option options") as refused:
            call([], options)
        assert refused.value.code == "config"


@pytest.mark.parametrize("kind", [EmbedOptions, RecognizeOptions, SummarizeOptions, RerankOptions, BridgeOptions])
def test_options_are_passed_by_keyword(kind):
    with pytest.raises(TypeError):
        kind("x")
    assert kind() == kind()
    with pytest.raises(AttributeError):
        kind().timeout = 1.0  # options are frozen


# -- Results and names of tasks


def test_embeddings_are_compared_by_their_arrays():
    def embeddings(vector: float = 0.5, count: int = 3, truncated: bool = False, rows: int = 2) -> Embeddings:
        return Embeddings(np.full((rows, 4), vector, np.float32), np.full(rows, count), np.full(rows, truncated))

    assert embeddings() == embeddings() and len(embeddings(rows=3)) == 3
    for other in (embeddings(0.25), embeddings(count=4), embeddings(truncated=True), embeddings(rows=1), "x", None):
        assert embeddings() != other and (embeddings() == other) is False
    with pytest.raises(TypeError):
        hash(embeddings())


def test_an_embedding_is_compared_by_its_array():
    def embedding(vector: float = 0.5, count: int = 3, truncated: bool = False, dim: int = 4) -> Embedding:
        return Embedding(np.full(dim, vector, np.float32), count, truncated)

    assert embedding() == embedding()
    for other in (embedding(0.25), embedding(count=4), embedding(truncated=True), embedding(dim=3), "x", None):
        assert embedding() != other and (embedding() == other) is False
    with pytest.raises(TypeError):
        hash(embedding())


def test_each_embedding_is_a_row_of_the_embeddings(whole):
    together, each = whole.embedder().embed(TEXTS), whole.embedder().embed_each(TEXTS)
    rows = zip(together.vectors, together.token_counts.tolist(), together.truncated.tolist(), strict=True)
    assert each == [Embedding(*row) for row in rows]


def test_tasks_have_the_names_of_the_api_and_of_manifests():
    assert [str(task) for task in Task] == ["embedding", "ner", "summarization", "rerank"]
    names = {task: task.manifest_name for task in Task}
    assert names == {
        "embedding": "sentence-embedding",
        "ner": "ner",
        "summarization": "summarization",
        "rerank": "rerank",
    }
    assert all(Task(str(task)) is task and Task.of_manifest(task.manifest_name) is task for task in Task)
    assert Task.of_manifest("embedding") is None and Task.of_manifest("mind-reading") is None
    assert [kind.task for kind in (Embedder, Recognizer, Summarizer, Reranker)] == list(Task)
