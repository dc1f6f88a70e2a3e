"""The runtime on a small artifact: results, limits, errors, threads."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import (
    ArtifactError,
    BridgeOptions,
    ConfigError,
    DependencyError,
    Embedder,
    EmbedOptions,
    InferenceError,
    InputError,
    Model,
    OnnxMlBridge,
    Recognizer,
    TaskNotLoadedError,
)
from onnx_ml_bridge.runtime import cpu, session

TINY = VALID / "tiny-embedding"
TEXTS = ["the cat sleeps", "", "a big red house!", " ", "dog " * 100, "\U0001f600", "a\0b", "ΑΒΓ", "x" * 2000]


@pytest.fixture(params=["fp32", "int8"])
def bridge(request) -> OnnxMlBridge:
    return OnnxMlBridge.open(Model(TINY, variant=request.param))


def test_shapes_and_types_of_results(bridge):
    result = bridge.embedder().embed(TEXTS)
    assert result.vectors.shape == (9, 16) and result.vectors.dtype == np.float32
    assert result.token_counts.tolist()[:2] == [5, 2]
    assert result.truncated.tolist() == [False] * 4 + [True] + [False] * 4
    assert bridge.generate_embedding("the cat").shape == (16,)
    assert bridge.get_embedding_model_name() == "tiny-embedding"


def test_an_empty_list_returns_no_rows(bridge):
    assert bridge.generate_embeddings_batch([]).shape == (0, 16)


def test_results_are_in_order_and_do_not_depend_on_the_batch(bridge):
    together = bridge.generate_embeddings_batch(TEXTS)
    alone = np.stack([bridge.generate_embedding(text) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6, rtol=0)


def test_a_long_list_is_processed_in_blocks(bridge):
    texts = [f"the cat {number}" for number in range(5000)]
    many = bridge.generate_embeddings_batch(texts)
    np.testing.assert_allclose(
        many[[0, 4095, 4096, 4999]],
        bridge.generate_embeddings_batch([texts[0], texts[4095], texts[4096], texts[4999]]),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("texts", "code", "index"),
    [
        (["a", 5], "input_type", 1),
        (["a", "b", None], "input_type", 2),
        ([b"bytes"], "input_type", 0),
        (["ok", "lone \ud800 surrogate"], "input_text", 1),
        (["ok", "x" * 1_000_001], "input_too_large", 1),
        ("one text", "input_type", None),
    ],
)
def test_bad_texts_are_refused_with_their_index(bridge, texts, code, index):
    with pytest.raises(InputError) as refused:
        bridge.embedder().embed(texts)
    assert (refused.value.code, refused.value.index) == (code, index)


def test_a_text_over_the_limit_is_refused_and_with_a_larger_limit_truncated():
    text = "the cat sleeps. " * 65_000
    with pytest.raises(InputError) as refused:
        Embedder.open(TINY).embed([text])
    assert refused.value.code == "input_too_large"
    assert Embedder.open(TINY, BridgeOptions(text_limit=2_000_000)).embed([text]).truncated.tolist() == [True]


def test_prompts_are_put_before_the_text(bridge):
    with_prompt = bridge.embedder().embed(["cat"], EmbedOptions(prompt_name="query"))
    np.testing.assert_array_equal(with_prompt.vectors, bridge.embedder().embed(["the big cat"]).vectors)
    np.testing.assert_array_equal(bridge.generate_embedding("cat", prompt_name="query"), with_prompt.vectors[0])
    with pytest.raises(InputError, match="document, query") as refused:
        bridge.embedder().embed(["cat"], EmbedOptions(prompt_name="nothing"))
    assert refused.value.code == "prompt_not_found"


def test_generate_embedding_warns_about_a_truncated_text(bridge, caplog):
    with caplog.at_level(logging.WARNING):
        bridge.generate_embedding("dog " * 100)
    assert "truncated to 48 tokens" in caplog.text


def test_the_health_check_fails_after_a_run_that_failed_and_runs_nothing_itself(monkeypatch):
    bridge, run, runs = OnnxMlBridge.open(TINY), session.GraphSession.run, []
    monkeypatch.setattr(session.GraphSession, "run", lambda *arguments: runs.append(1) or run(*arguments))
    assert bridge.health_check() and bridge.status()[0].state == "unloaded" and not runs
    bridge.self_test()
    (status,) = bridge.status()
    assert (status.name, status.state, status.waiting, status.running) == ("tiny-embedding", "ready", 0, 0)
    monkeypatch.setattr(session.GraphSession, "run", lambda *_: [np.full((1, 16), np.nan, np.float32)])
    for call in (bridge.self_test, lambda: bridge.generate_embedding("x")):
        with pytest.raises(InferenceError, match="not finite"):
            call()
    (failed,) = bridge.status()
    assert (failed.state, failed.error, failed.last_success) == ("failed", "inference", status.last_success)
    assert not bridge.health_check()
    monkeypatch.setattr(session.GraphSession, "run", run)
    bridge.generate_embedding("x")
    assert bridge.health_check() and bridge.status()[0].error is None


def test_a_model_whose_graph_cannot_be_loaded_has_failed(monkeypatch):
    def fail(*_: object) -> None:
        raise ArtifactError("graph", "cannot load")

    bridge = OnnxMlBridge.open(TINY)
    monkeypatch.setattr(session, "create_session", fail)
    for call in (bridge.warm_up, bridge.self_test):
        with pytest.raises(ArtifactError):
            call()
        assert [(each.state, each.error) for each in bridge.status()] == [("failed", "graph")]
    assert not bridge.health_check()


def test_a_call_without_a_model_names_the_task():
    empty = OnnxMlBridge([])
    with pytest.raises(TaskNotLoadedError, match="task embedding"):
        empty.generate_embedding("x")
    assert not empty.health_check()


def test_a_variant_can_be_selected():
    assert OnnxMlBridge.open(Model(TINY, variant="int8")).embedder().info.variant == "int8"


def test_invalid_options_are_named():
    with pytest.raises(ConfigError, match="embeding"):
        OnnxMlBridge.open(TINY, defaults={"embeding": "tiny-embedding"})
    for threads in (0, -1):
        with pytest.raises(ConfigError, match="threads"):
            OnnxMlBridge.open(TINY, options=BridgeOptions(threads=threads))


def test_an_invalid_path_is_refused():
    for path in ("", "a\0b"):
        with pytest.raises(ArtifactError) as refused:
            OnnxMlBridge.open(path)
        assert refused.value.code == "path_kind"


def test_auto_selects_the_variant_by_the_instruction_set(monkeypatch):
    for flags, expected in ((frozenset({"avx512_vnni"}), "int8"), (frozenset({"avx2"}), "fp32")):
        monkeypatch.setattr(cpu, "cpu_flags", lambda flags=flags: flags)
        assert OnnxMlBridge.open(TINY).embedder().info.variant == expected


def test_another_task_is_refused():
    with pytest.raises(ArtifactError, match="another task") as refused:
        Recognizer.open(TINY)
    assert refused.value.code == "variant"


@pytest.mark.parametrize(("merge", "limit"), [(False, 0.0), (True, 1e-6)])
def test_many_threads_get_the_results_of_one_and_load_the_graph_once(monkeypatch, merge, limit):
    loads = []
    create = session.create_session
    monkeypatch.setattr(session, "create_session", lambda *args: loads.append(args) or create(*args))
    bridge = OnnxMlBridge.open(Model(TINY, variant="fp32", merge=merge))
    barrier = threading.Barrier(16)

    def work(number: int) -> np.ndarray:
        barrier.wait()
        return np.stack([bridge.generate_embedding(TEXTS[(number + turn) % 4]) for turn in range(40)])

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(work, range(16)))
    assert len(loads) == 1
    serial = OnnxMlBridge.open(Model(TINY, variant="fp32"))
    expected = {text: serial.generate_embedding(text) for text in TEXTS[:4]}
    for number, rows in enumerate(found):
        for turn, row in enumerate(rows):
            assert np.abs(row - expected[TEXTS[(number + turn) % 4]]).max() <= limit


def test_without_onnxruntime_the_error_has_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"pip install 'onnx-ml-bridge\[cpu\]'"):
        OnnxMlBridge.open(TINY).warm_up()
