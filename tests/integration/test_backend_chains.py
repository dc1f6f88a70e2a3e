"""Chains: what falls through to the next member has the codes of tests/golden/backends.json, as in Rust."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import DIMENSIONS, vector
from faulty_server import FaultyServer, faulty_server
from onnx_ml_bridge import (
    ApiModel,
    ApiServer,
    BackendError,
    CancelToken,
    CompositeMlBridge,
    ConfigError,
    EmbedOptions,
    Fallback,
    InferenceError,
    InputError,
    Location,
    MetricsCollector,
    OnnxMlBridge,
    OnnxMlBridgeError,
    OpenAiMlBridge,
    RecognizeOptions,
    StoppedError,
    SummarizeOptions,
    TaskNotLoadedError,
)
from onnx_ml_bridge.backends.pauses import Pause
from onnx_ml_bridge.runtime.meter import Meter, all_numbers

pytest.importorskip("httpx2")
GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "backends.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in GOLDEN["chains"]}
MESSAGES = GOLDEN["messages"]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[FaultyServer, FaultyServer]]:
    with faulty_server() as first, faulty_server() as second:
        yield first, second


@pytest.fixture
def servers(running) -> tuple[FaultyServer, FaultyServer]:
    for server in running:
        server.script()
    return running


def open_server(server: FaultyServer, name: str, **options: Any) -> OpenAiMlBridge:
    settings = ApiServer(base_url=server.url, **{"max_attempts": 1, **options})
    embedding = ApiModel("m", dimensions=DIMENSIONS, context=1000, space="m")
    chat = ApiModel("m")
    return OpenAiMlBridge.open(embedding=embedding, ner=chat, summarization=chat, server=settings, name=name)


def chained(servers: tuple[FaultyServer, FaultyServer], **of_first: Any) -> CompositeMlBridge:
    members = [open_server(servers[0], "first", **of_first), open_server(servers[1], "second")]
    return CompositeMlBridge(embedding=members, ner=members, summarization=members)


def counts(servers: tuple[FaultyServer, FaultyServer]) -> list[int]:
    return [len(server.requests()) for server in servers]


def test_a_name_selects_a_member_before_a_model_of_that_name(servers):
    server = ApiServer(base_url=servers[0].url)
    members = [
        OpenAiMlBridge.open(summarization=ApiModel("second"), server=server, name="first"),
        open_server(servers[1], "second"),
    ]
    with CompositeMlBridge(summarization=members) as bridge:
        chosen = [bridge.summarizer(name).info.backend for name in ("first", "second", "m")]
    assert chosen == ["first", "second", "second"]


@pytest.mark.parametrize("name", CASES)
def test_an_error_falls_through_or_does_not(servers, name):
    case = CASES[name]
    for server, script in zip(servers, (case["script"], case["second"]), strict=True):
        server.script(*script)
    own = {"timeout": case["own_timeout_ms"] / 1000} if "own_timeout_ms" in case else {}
    options = SummarizeOptions(timeout=case["timeout_ms"] / 1000 if "timeout_ms" in case else None)
    code = backend = None
    fallbacks: list[str] = []
    with chained(servers, **own) as bridge:
        try:
            (summary,) = bridge.summarizer().summarize([MESSAGES], options)
            backend, fallbacks = summary.backend, [each.code for each in summary.fallbacks]
            assert summary.text == GOLDEN["summary"] and {each.backend for each in summary.fallbacks} <= {"first"}
        except OnnxMlBridgeError as error:
            code = error.code
    assert (code, backend, fallbacks) == (case["code"], case["backend"], case["fallbacks"])
    assert counts(servers) == case["requests"]


def test_each_text_falls_through_alone(servers):
    servers[0].script("ok", "500")  # the first request has the short texts, the second one the long one
    texts = ["short", "x" * 2000, "also short"]
    with chained(servers, max_in_flight=1) as bridge:
        answer = bridge.embedder().embed(texts)
    assert np.array_equal(answer.vectors, np.stack([vector(text) for text in texts]))
    by_size = {len(request["body"]["input"]): request for request in servers[0].requests()}
    failed = [request["body"]["input"] for request in servers[0].requests() if request["fault"] == "500"]
    (moved,) = [request["body"]["input"] for request in servers[1].requests()]
    assert set(by_size) == {1, 2} and failed == [moved]
    passed = {index for index, text in enumerate(texts) if text in moved}
    for index, (backend, fallbacks) in enumerate(zip(answer.backends, answer.fallbacks, strict=True)):
        assert (backend, fallbacks) == (
            ("second", (Fallback("first", "upstream"),)) if index in passed else ("first", ())
        )


def test_an_invalid_text_never_falls_through(servers):
    with chained(servers) as bridge:
        outcomes = bridge.embedder().embed_each(["good", " ", 3])
        assert [getattr(each, "code", None) for each in outcomes] == [None, "empty_input", "input_type"]
        assert [each.index for each in outcomes[1:]] == [1, 2]
    assert counts(servers) == [1, 0]


def test_entities_have_a_chain_too_and_labels_of_a_call(servers):
    servers[0].script("500")
    with chained(servers) as bridge:
        (found,) = bridge.recognizer().recognize(["So Kofi came."], RecognizeOptions(labels=["PERSON", "X", "PERSON"]))
        with pytest.raises(ConfigError):
            bridge.recognizer().recognize(["So Kofi came."], RecognizeOptions(labels=[]))
    assert (found.backend, [entity.text for entity in found]) == ("second", ["Kofi"])
    (request,) = servers[1].requests()
    assert "labels are: PERSON, X." in request["body"]["messages"][0]["content"]
    items = request["body"]["response_format"]["json_schema"]["schema"]["properties"]["entities"]["items"]
    assert items["properties"]["label"]["enum"] == ["PERSON", "X"]


def test_a_member_that_fails_three_times_in_a_row_is_skipped(servers):
    servers[0].script("500", "500", "ok", "500", "500", "500")
    with chained(servers) as bridge:
        backends = [bridge.summarizer().summarize([MESSAGES])[0].backend for _ in range(6)]
        assert backends == ["second", "second", "first", "second", "second", "second"]
        assert counts(servers) == [6, 5]
        (skipped,) = bridge.summarizer().summarize([MESSAGES])
        assert (skipped.backend, skipped.fallbacks) == ("second", (Fallback("first", "upstream"),))
        assert counts(servers) == [6, 6]
        servers[1].script(*["500"] * 3)
        for _ in range(3):
            with pytest.raises(BackendError):
                bridge.summarizer().summarize([MESSAGES])
        # Both are paused, so both are asked
        assert bridge.summarizer().summarize([MESSAGES])[0].backend == "first"


def test_a_pause_ends_after_30_seconds_and_one_failure_begins_it_again():
    now = [100.0]
    pause = Pause(clock=lambda: now[0])
    for _ in range(2):
        pause.failed()
    assert not pause.is_active
    pause.failed()
    assert pause.is_active
    now[0] += 30
    assert not pause.is_active
    pause.failed()
    assert pause.is_active
    now[0] += 30
    pause.answered()
    pause.failed()
    assert not pause.is_active


def test_no_other_member_answers_when_a_part_was_shown(servers):
    shown = []
    servers[0].script("undone")
    options = SummarizeOptions(on_token=lambda index, text: shown.append((index, text)))
    with chained(servers) as bridge:
        with pytest.raises(BackendError) as failed:
            bridge.summarizer().summarize([MESSAGES], options)
        assert failed.value.code == "upstream" and shown[0] == (0, "The")
        assert counts(servers) == [1, 0]
        servers[0].script("500")  # nothing was shown
        shown.clear()
        assert bridge.summarizer().summarize([MESSAGES], options)[0].backend == "second"
        assert "".join(text for _, text in shown) == GOLDEN["summary"]


def test_a_cancelled_call_does_not_fall_through(servers):
    servers[0].script("stall")
    token = CancelToken()
    servers[0].cancel_at_a_request(token)
    started = time.monotonic()
    with chained(servers) as bridge, pytest.raises(StoppedError) as stopped:
        bridge.summarizer().summarize([MESSAGES], SummarizeOptions(cancel=token))
    assert stopped.value.code == "cancelled" and time.monotonic() - started < 30
    assert counts(servers) == [1, 0]


def test_fallbacks_are_counted(servers):
    meter = Meter("m", "composite")
    before = all_numbers()[meter].fallbacks["quota"] if meter in all_numbers() else 0
    servers[0].script("quota")
    with chained(servers) as bridge:
        bridge.summarize(MESSAGES)
    assert all_numbers()[meter].fallbacks["quota"] == before + 1


def test_a_scrape_has_what_only_servers_count(servers):
    prometheus = pytest.importorskip("prometheus_client")
    servers[0].script("500", "500", "ok")
    with chained(servers, max_attempts=2, max_backoff=0.01) as bridge:
        bridge.summarize(MESSAGES)
        bridge.recognizer("first").recognize(["The entity is elsewhere."])
    registry = prometheus.CollectorRegistry()
    registry.register(MetricsCollector())
    text = prometheus.generate_latest(registry).decode()
    for sample in (
        'retries_total{code="upstream",model="m",version="first"}',
        'fallbacks_total{code="upstream",model="m",version="composite"}',
        'dropped_entities_total{model="m",version="first"}',
    ):
        assert re.search(rf"^onnx_ml_bridge_{re.escape(sample)} [1-9]", text, re.MULTILINE), sample
    for sample in ('load_seconds_count{model="m",version="first"}', 'loaded{model="m",version="composite"}'):
        assert f"onnx_ml_bridge_{sample} 0.0" in text, f"nothing is loaded: {sample}"


def test_an_onnx_model_is_a_member(servers):
    servers[0].script("500")
    onnx = OnnxMlBridge.open(GOLDEN_FOLDER / "valid/tiny-summary")
    cloud = open_server(servers[0], "cloud")
    with CompositeMlBridge(summarization=[cloud, onnx], ner=[cloud]) as bridge:
        (summary,) = bridge.summarizer().summarize([MESSAGES])
        assert (summary.backend, summary.fallbacks) == ("onnx", (Fallback("cloud", "upstream"),))
        assert bridge.location("summarization") is Location.MACHINE
        assert [(each.backend, each.task, each.state) for each in bridge.health()] == [
            ("cloud", "ner", "ready"),
            ("cloud", "summarization", "ready"),  # it answers now; `status` tells of the request that failed
            ("onnx", "summarization", "ready"),
        ]
        assert [info.backend for info in bridge.models()] == ["cloud", "cloud", "onnx"]
        assert bridge.summarizer("onnx").info.engine == "transformers" and bridge.health_check() is False
        with pytest.raises(InputError):
            bridge.summarizer("other")
        with pytest.raises(TaskNotLoadedError):
            bridge.embedder()
    with pytest.raises(TaskNotLoadedError):
        bridge.summarizer()
    assert bridge.models() == () and bridge.health() == ()


def test_windows_of_a_member_that_is_reloaded_are_not_mixed():
    onnx = OnnxMlBridge.open(GOLDEN_FOLDER / "valid/tiny-embedding")
    with CompositeMlBridge(embedding=[onnx]) as bridge:
        text = "the cat sings " * 800
        expected = [each.vector.tolist() for each in onnx.embedder().embed_windows(text)]
        assert [each.vector.tolist() for each in bridge.embedder().embed_windows(text)] == expected
        windows = bridge.embedder().embed_windows(text)
        next(windows)
        onnx.reload(onnx.models()[0].name)
        with pytest.raises(StoppedError, match="reloaded"):
            list(windows)
        assert len(expected) > 32


def test_chains_that_cannot_be_are_refused(servers):
    first = open_server(servers[0], "first")
    again = open_server(servers[1], "first")
    onnx = OnnxMlBridge.open(GOLDEN_FOLDER / "valid/tiny-embedding")
    for chains in ({}, {"summarization": [first, again]}, {"embedding": [first, onnx]}):
        with pytest.raises(ConfigError):
            CompositeMlBridge(**chains)
    with pytest.raises(TaskNotLoadedError):
        CompositeMlBridge(rerank=[onnx])


def test_vectors_of_another_length_are_an_error(servers):
    first = open_server(servers[0], "first")
    shorter = ApiModel("m", dimensions=DIMENSIONS - 1, space="m")
    second = OpenAiMlBridge.open(embedding=shorter, server=ApiServer(base_url=servers[1].url), name="second")
    servers[0].script("500")
    servers[1].script("dims")
    with CompositeMlBridge(embedding=[first, second]) as bridge:
        with pytest.raises(InferenceError):
            bridge.embedder().embed(["a"])
        with pytest.raises(ConfigError):
            bridge.embedder().embed(["a"], EmbedOptions(dimensions=2))
    assert counts(servers) == [1, 1]


@pytest.mark.parametrize("is_set", [True, False])
def test_local_only_refuses_a_member_elsewhere(servers, monkeypatch, is_set):
    cloud = OpenAiMlBridge.open(summarization=ApiModel("m"), name="cloud")
    members = [cloud, open_server(servers[0], "near")]
    if not is_set:
        monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", "1")
    with pytest.raises(BackendError) as refused:
        CompositeMlBridge(summarization=members, local_only=is_set)
    assert refused.value.code == "not_local"
