"""The life of open models: loads, changed files, a memory limit, models that are added, removed and closed."""

from __future__ import annotations

import os
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from examples import VALID
from onnx_ml_bridge import (
    ArtifactError,
    BridgeOptions,
    ClosedError,
    ConfigError,
    Embedder,
    InputError,
    Model,
    OnnxMlBridge,
    Reranker,
    SummarizeOptions,
    Summarizer,
    open_bridge,
)
from onnx_ml_bridge.artifacts import checks
from onnx_ml_bridge.runtime import session
from onnx_ml_bridge.runtime.interface import MlBridge
from onnx_ml_bridge.runtime.life import LIFE
from onnx_ml_bridge.runtime.meter import all_numbers
from versions import copy_of

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")
EMBEDDING, NER, SPACY, SUMMARY, RERANK = (
    VALID / f"tiny-{name}" for name in ("embedding", "ner", "spacy", "summary", "rerank")
)
TEXTS = ["the cat, Ann (Bo) on Paris!", "a big red house sings"]
GRAPH, TOKENIZER = "onnx/model.onnx", "tokenizer.json"


@pytest.fixture
def loads(monkeypatch):
    """The names of the graphs that were loaded."""
    created = session.create_session
    names = []

    def create(path, *arguments, **options):
        names.append(path.name)
        return created(path, *arguments, **options)

    monkeypatch.setattr(session, "create_session", create)
    return names


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed."""
    check, names = checks.check_hashes, []

    def check_hashes(artifact, files, *arguments):
        files = list(files)
        names.extend(files)
        check(artifact, files, *arguments)

    monkeypatch.setattr(checks, "check_hashes", check_hashes)
    return names


# -- Loads


def test_concurrent_first_calls_load_a_model_once(loads):
    embedder = Embedder.open(Model(EMBEDDING, variant="fp32"))
    start = threading.Barrier(16)

    def call():
        start.wait()
        return embedder.embed(TEXTS)

    with ThreadPoolExecutor(16) as pool:
        answers = [answer.result() for answer in [pool.submit(call) for _ in range(16)]]
    assert loads == ["model.onnx"]
    assert all(answer == answers[0] for answer in answers)


def test_calls_without_a_valid_input_load_nothing(loads):
    bridge = OnnxMlBridge.open(EMBEDDING, SUMMARY)
    assert len(bridge.embedder().embed([])) == 0 and bridge.embedder().embed_each([]) == []
    with pytest.raises(InputError):
        bridge.embedder().embed(["a", 5])
    assert isinstance(bridge.summarizer().summarize_each([[""]])[0], InputError)
    assert not loads and all(handle._slot.state == "unloaded" for handle in bridge._handles.values())


def test_the_memory_of_a_model_is_known_while_it_is_loaded():
    embedder = Embedder.open(Model(EMBEDDING, "sized", variant="fp32"))
    assert embedder.resident_bytes() == 0
    embedder.warm_up()
    assert embedder.resident_bytes() >= sum((EMBEDDING / name).stat().st_size for name in (GRAPH, f"{GRAPH}_data"))
    embedder.unload()
    assert embedder.resident_bytes() == 0


def test_a_load_that_fails_is_stated_and_the_next_one_may_succeed(tmp_path):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = Embedder.open(Model(folder, variant="fp32"))
    kept = (folder / GRAPH).read_bytes()
    (folder / GRAPH).unlink()
    for call in (embedder.warm_up, lambda: embedder.embed(TEXTS), lambda: embedder.embed_each(TEXTS)):
        with pytest.raises(ArtifactError) as refused:
            call()
        assert refused.value.code == "io" and embedder._slot.state == "failed"
    (folder / GRAPH).write_bytes(kept)
    embedder.embed(TEXTS)
    assert embedder._slot.state == "ready"
    embedder.close()
    assert embedder._slot.state == "closed"


# -- Files that change after they were hashed


def test_unchanged_files_are_hashed_once(tmp_path, hashed):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = Embedder.open(Model(folder, variant="fp32"))
    assert GRAPH in hashed
    hashed.clear()
    for _ in range(3):
        embedder.warm_up()
        embedder.unload()
    assert not hashed


@pytest.mark.parametrize("name", [GRAPH, f"{GRAPH}_data", TOKENIZER])
def test_a_replaced_file_with_the_same_bytes_is_hashed_again_once(tmp_path, hashed, name):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = Embedder.open(Model(folder, variant="fp32"))
    expected = embedder.embed(TEXTS)
    embedder.unload()
    hashed.clear()
    shutil.copy(folder / name, folder / "new")
    (folder / "new").rename(folder / name)
    assert embedder.embed(TEXTS) == expected and hashed == [name]
    embedder.unload()
    assert embedder.embed(TEXTS) == expected and hashed == [name]


@pytest.mark.parametrize("is_overwritten", [True, False])
@pytest.mark.parametrize("name", [GRAPH, f"{GRAPH}_data", TOKENIZER])
def test_a_file_with_other_bytes_is_refused_by_the_next_load(tmp_path, name, is_overwritten):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = Embedder.open(Model(folder, variant="fp32"))
    expected = embedder.embed(TEXTS)
    raw = (folder / name).read_bytes()
    times = (folder / name).stat()
    changed = folder / (name if is_overwritten else "new")
    changed.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed.rename(folder / name)
    assert embedder.embed(TEXTS) == expected  # the model that is loaded does not read its files
    embedder.unload()
    with pytest.raises(ArtifactError, match=f"{name}.*reload the model, or restore the file") as refused:
        embedder.embed(TEXTS)
    assert refused.value.code == "file_hash"
    (folder / name).write_bytes(raw)
    assert embedder.embed(TEXTS) == expected


def test_a_file_that_changed_before_the_first_call_is_refused(tmp_path):
    folder = copy_of("tiny-embedding", tmp_path / "model")
    embedder = Embedder.open(Model(folder, variant="fp32"))
    (folder / GRAPH).write_bytes(b"x" * (folder / GRAPH).stat().st_size)
    with pytest.raises(ArtifactError) as refused:
        embedder.warm_up()
    assert refused.value.code == "file_hash"


# -- Unloads


def test_a_model_is_unloaded_when_its_last_call_has_ended():
    summarizer = Summarizer.open(Model(SUMMARY, variant="fp32"))
    seen = []

    def progress(done, total):
        summarizer.unload()
        seen.append(summarizer._slot.state)

    options = SummarizeOptions(num_beams=1, min_length=0, max_length=4, progress=progress)
    assert len(summarizer.summarize([["the cat sings"], ["a dog sleeps"]], options)) == 2
    assert seen and set(seen) == {"ready"} and summarizer._slot.state == "unloaded"


def test_calls_while_another_thread_unloads_are_answered():
    bridge = OnnxMlBridge.open(Model(EMBEDDING, variant="fp32"), Model(RERANK, variant="fp32"))
    embedder, reranker = bridge.embedder(), bridge.reranker()
    expected = embedder.embed(TEXTS), reranker.rerank("the cat", TEXTS)
    ended = threading.Event()

    def unload():
        while not ended.is_set():
            bridge.unload()

    def call():
        for _ in range(15):
            assert (embedder.embed(TEXTS), reranker.rerank("the cat", TEXTS)) == expected

    with ThreadPoolExecutor(5) as pool:
        unloads = pool.submit(unload)
        for done in [pool.submit(call) for _ in range(4)]:
            done.result()
        ended.set()
        unloads.result()


def test_five_models_share_a_limit_that_holds_fewer():
    """400 random calls of four threads: every answer equals that of the model alone, and the limit is kept."""
    models = [Model(each, f"limited-{each.name}", variant="fp32") for each in (EMBEDDING, NER, SUMMARY, RERANK)]
    models.append(Model(SPACY, "limited-tiny-spacy"))
    bridge = OnnxMlBridge.open(*models, options=BridgeOptions(threads=1, memory_mb=20))
    calls = {
        "tiny-embedding": lambda: bridge.embedder().embed(TEXTS),
        "tiny-ner": lambda: bridge.recognizer("limited-tiny-ner").recognize(TEXTS),
        "tiny-spacy": lambda: bridge.recognizer("limited-tiny-spacy").recognize(TEXTS),
        "tiny-rerank": lambda: bridge.reranker().rerank("the cat", TEXTS),
        "tiny-summary": lambda: bridge.summarizer().summarize(
            [["the cat sings"]], SummarizeOptions(num_beams=1, min_length=0, max_length=4)
        ),
    }
    expected = {name: call() for name, call in calls.items()}
    sizes = {}
    for handle in bridge._handles.values():
        handle.warm_up()
        # Any three of the models fit, four do not
        sizes[handle] = handle._slot._current().resident
        sizes[handle].size = 6 << 20
    bridge.unload()
    before = {
        meter.model: numbers.unloads["memory_mb"]
        for meter, numbers in all_numbers().items()
        if meter.version == "1.0.0"
    }
    over = []

    def work(seed):
        chosen = random.Random(seed)
        for _ in range(100):
            name = chosen.choice(list(calls))
            assert calls[name]() == expected[name], name
            with LIFE.changed:  # else the models could change between two looks
                if sum(resident.is_loaded for resident in sizes.values()) > 3:
                    over.append(name)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            done.result()
    unloads = {
        meter.model: numbers.unloads["memory_mb"]
        for meter, numbers in all_numbers().items()
        if meter.version == "1.0.0"
    }
    assert not over and all(unloads[name] > before.get(name, 0) for name in calls)


# -- Models are added, removed and closed


def test_models_are_added_and_removed():
    bridge = OnnxMlBridge.open(EMBEDDING, defaults={"embedding": "tiny-embedding"})
    info = bridge.add(Model(EMBEDDING, "second", preload=True))
    assert (info.name, info) == ("second", bridge.models()[1])
    assert bridge.embedder("second")._slot.state == "ready"
    first, second = bridge.embedder(), bridge.embedder("second")
    expected = first.embed(TEXTS)
    bridge.remove("tiny-embedding")
    assert bridge.embedder() is second  # the default was removed, so the only model is the default
    with pytest.raises(ClosedError) as refused:
        first.embed(TEXTS)
    assert refused.value.code == "closed" and not refused.value.is_retryable
    bridge.add(EMBEDDING)
    assert bridge.embedder().info.name == "tiny-embedding"
    assert bridge.embedder().embed(TEXTS) == second.embed(TEXTS) == expected
    for call in (lambda: bridge.remove("other"), lambda: bridge.reload("other")):
        with pytest.raises(InputError, match="no model 'other', expected one of: second, tiny-embedding") as refused:
            call()
        assert refused.value.code == "model_not_found"


def test_refused_models_are_not_added_and_load_nothing(loads):
    bridge = OnnxMlBridge.open(EMBEDDING)
    for model in (
        EMBEDDING,
        Model(NER, "tiny-embedding", preload=True),
        Model(NER, device="tpu"),
        Model(NER, workers=-1),
    ):
        with pytest.raises(ConfigError):
            bridge.add(model)
    with pytest.raises(ArtifactError):
        bridge.add(VALID)
    assert [info.name for info in bridge.models()] == ["tiny-embedding"] and not loads


def test_added_models_have_the_options_of_the_bridge():
    bridge = OnnxMlBridge.open(EMBEDDING, options=BridgeOptions(text_limit=5, memory_mb=1000))
    bridge.add(NER)
    with pytest.raises(InputError):
        bridge.extract_entities("123456")
    assert bridge._handles["tiny-ner"]._slot._current().origin.budget is bridge._budget


@pytest.mark.parametrize(
    ("models", "options", "defaults"),
    [
        ((Model(EMBEDDING, preload=True),), {"memory_mb": -1}, None),
        ((Model(EMBEDDING, preload=True),), {"memory_mb": 0}, None),
        ((Model(EMBEDDING, preload=True),), {"threads": -2}, None),
        ((Model(EMBEDDING, preload=True),), {"timeout": -1.0}, None),
        ((Model(EMBEDDING, preload=True, idle_unload=-1),), {}, None),
        ((Model(EMBEDDING, preload=True), Model(NER, workers=-1)), {}, None),
        ((Model(EMBEDDING, "a", preload=True), Model(NER, "a")), {}, None),
        ((Model(EMBEDDING, preload=True),), {}, {"embedding": "other"}),
    ],
)
def test_invalid_options_are_refused_before_anything_is_loaded(loads, models, options, defaults):
    with pytest.raises(ConfigError) as refused:
        OnnxMlBridge.open(*models, options=BridgeOptions(**options), defaults=defaults)
    assert refused.value.code == "config" and not loads


def test_a_bridge_toml_with_a_default_that_names_no_model_is_refused_before_anything_is_loaded(tmp_path, loads):
    path = tmp_path / "bridge.toml"
    path.write_text(f'[bridge]\ndefaults = {{ ner = "x" }}\n[models.a]\npath = "{EMBEDDING}"\npreload = true\n')
    with pytest.raises(ConfigError, match="not one of the models a"):
        open_bridge(path)
    assert not loads


def test_close_waits_for_running_calls():
    started, may_end, events = threading.Event(), threading.Event(), []

    def progress(done, total):
        started.set()
        assert may_end.wait(30)

    with OnnxMlBridge.open(Model(SUMMARY, variant="fp32")) as bridge, ThreadPoolExecutor(2) as pool:
        options = SummarizeOptions(num_beams=1, min_length=0, max_length=4, progress=progress)
        call = pool.submit(bridge.summarizer().summarize, [["the cat sings"]], options)
        assert started.wait(30)
        summarizer = bridge.summarizer()
        closed = pool.submit(lambda: (bridge.close(), events.append(call.done())))
        while bridge.models():
            pass
        with pytest.raises(ClosedError):
            summarizer.summarize([["a dog"]])
        assert not closed.done()
        may_end.set()
        assert len(call.result()) == 1
        closed.result()
    assert events == [True] or call.done()


def test_a_handle_that_was_opened_alone_is_closed_by_with():
    with Reranker.open(Model(RERANK, "mine")) as reranker:
        reranker.rerank("the cat", TEXTS)
    for call in (lambda: reranker.rerank("the cat", TEXTS), lambda: reranker.rerank("the cat", []), reranker.reload):
        with pytest.raises(ClosedError, match="mine was closed"):
            call()
    assert reranker.info.name == "mine" and reranker.resident_bytes() == 0
    reranker.unload()
    reranker.close()


def test_a_bridge_that_cannot_change_its_models_says_so():
    class Fixed(MlBridge):
        pass

    bridge = Fixed()
    for call in (lambda: bridge.add(EMBEDDING), lambda: bridge.remove("x"), lambda: bridge.reload("x")):
        with pytest.raises(ConfigError, match="a bridge that can change its models, got Fixed"):
            call()
