"""Every fault of a server has the code and the number of requests of tests/golden/backends.json, as in Rust."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
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
    ConfigError,
    EmbedOptions,
    InputError,
    OnnxMlBridgeError,
    OpenAiMlBridge,
    StoppedError,
    SummarizeOptions,
    Usage,
)
from onnx_ml_bridge.backends.loop import run_all
from onnx_ml_bridge.backends.pacing import Pacing
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.meter import Meter, all_numbers

pytest.importorskip("httpx2")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/backends.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in GOLDEN["cases"]}
TEXTS, MESSAGES = GOLDEN["texts"], GOLDEN["messages"]
KEY = "sk-canary-0123456789abcdef"
VARIABLE = "ONNX_ML_BRIDGE_TEST_KEY"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.fixture
def open_bridge(server, monkeypatch):
    """A function that opens a bridge to the server, which forgets what it saw."""
    monkeypatch.setenv(VARIABLE, KEY)
    server.script()

    def open_it(model: dict[str, Any] | None = None, **options: Any) -> OpenAiMlBridge:
        chat = ApiModel("m", **(model or {}))
        settings = ApiServer(base_url=server.url, api_key_env=VARIABLE, **{"max_backoff": 0.02, **options})
        embedding = ApiModel("m", dimensions=DIMENSIONS)
        return OpenAiMlBridge.open(embedding=embedding, ner=chat, summarization=chat, server=settings)

    return open_it


def assert_below(limit: float, measure: Callable[[], float]) -> None:
    """Measure until a time is below a limit, because other processes may slow down some of the measurements."""
    times: list[float] = []
    while not times or times[-1] >= limit:
        assert len(times) < 50, times
        times.append(measure())


@pytest.fixture
def pauses(monkeypatch) -> SimpleQueue[float]:
    """The times for which requests were held back, in seconds; each is added when it holds."""
    seen: SimpleQueue[float] = SimpleQueue()
    hold_back = Pacing.hold_back

    def spy(pacing: Pacing, seconds: float) -> None:
        hold_back(pacing, seconds)
        seen.put(seconds)

    monkeypatch.setattr(Pacing, "hold_back", spy)
    return seen


def numbers(name: str) -> Any:
    return all_numbers()[Meter(name, "openai")]


def call(bridge: OpenAiMlBridge, case: dict[str, Any]) -> Any:
    timeout = case["timeout_ms"] / 1000 if "timeout_ms" in case else None
    if case["task"] == "embedding":
        return bridge.embedder().embed(TEXTS, EmbedOptions(timeout=timeout))
    on_token = (lambda index, text: None) if case.get("on_token") else None
    return bridge.summarizer().summarize([MESSAGES], SummarizeOptions(timeout=timeout, on_token=on_token))


def check_answer(answer: Any) -> None:
    if isinstance(answer, list):
        assert [summary.text for summary in answer] == [GOLDEN["summary"]]
        assert (answer[0].usage, answer[0].tokens) == (Usage(9, 4), 4)
    else:
        assert np.array_equal(answer.vectors, np.stack([vector(text) for text in TEXTS]))
        assert answer.usage == Usage(12, 0) and answer.backends == ("openai", "openai")


@pytest.mark.parametrize("name", CASES)
def test_a_fault_has_its_code_and_number_of_requests(server, open_bridge, name):
    case = CASES[name]
    read_timeout = case["read_timeout_ms"] / 1000 if "read_timeout_ms" in case else 60
    bridge = open_bridge(read_timeout=read_timeout)
    server.script(*case["script"])
    code, started = None, time.monotonic()
    try:
        check_answer(call(bridge, case))
    except OnnxMlBridgeError as error:
        code = error.code
        assert not isinstance(error, InputError) or error.index == 0
    seconds = time.monotonic() - started
    seen = server.requests()
    assert (code, len(seen)) == (case["code"], case["requests"])
    assert seconds >= case.get("min_seconds", 0)
    assert {request["authorization"] for request in seen} == {f"Bearer {KEY}"}


def test_the_cases_are_the_faults_of_the_design():
    assert len(CASES) == len(GOLDEN["cases"]) >= 50
    assert {case["code"] for case in CASES.values()} == {
        None, "auth", "config", "context_too_long", "inference", "model_not_found", "quota", "rate_limited", "refused",
        "timeout", "upstream",
    }  # fmt: skip


def test_requests_that_are_sent_again_are_counted(server, open_bridge):
    before = numbers("m@4") if Meter("m@4", "openai") in all_numbers() else None
    server.script("500", "cut:60", "500")
    open_bridge().embedder().embed(TEXTS)
    after = numbers("m@4")
    assert after.retries["upstream"] - (before.retries["upstream"] if before else 0) == 3
    assert after.runs - (before.runs if before else 0) == 4
    assert after.tokens - (before.tokens if before else 0) == 12


@pytest.mark.parametrize(("asked", "seconds"), [("ms=300", 0.3), ("s=0.3", 0.3), ("s=1", 1.0)])
def test_retry_after_is_kept(server, open_bridge, pauses, asked, seconds):
    bridge = open_bridge()

    def late() -> float:
        server.script(f"429:{asked}")
        bridge.embedder().embed(TEXTS)
        first, second = server.requests()
        # The request that was answered with 429 came before the pause began: its own `ended` may be later
        wait = second["at"] - first["at"]
        assert wait >= seconds
        assert pauses.get(timeout=30) == seconds and pauses.empty()
        return wait - seconds

    assert_below(0.2, late)


def test_a_429_holds_back_the_other_calls_of_the_backend(server, open_bridge, pauses):
    bridge = open_bridge()
    server.script("429:s=0.5")
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(bridge.generate_embedding, "first")
        assert pauses.get(timeout=30) == 0.5
        others = [threads.submit(bridge.generate_embedding, text) for text in ("second", "third")]
        for future in (first, *others):
            future.result()
    limited, *later = server.requests()
    assert len(later) == 3 and all(request["at"] >= limited["at"] + 0.5 for request in later)


def test_a_call_that_ends_before_the_pause_does_fails_at_once(server, open_bridge):
    bridge = open_bridge()
    server.script("429:s=30")
    with pytest.raises(BackendError):
        bridge.embedder().embed(TEXTS, EmbedOptions(timeout=15))
    with pytest.raises(BackendError) as refused:
        bridge.embedder().embed(TEXTS, EmbedOptions(timeout=15))
    # What is left of the pause tells that neither call has waited for it
    assert refused.value.code == "rate_limited" and 20 < refused.value.retry_after <= 30
    assert len(server.requests()) == 1


def test_64_calls_keep_the_limit_of_requests_in_flight(server, open_bridge):
    bridge = open_bridge(max_in_flight=5)
    server.script(*["slow:0.05"] * 64)
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(bridge.generate_embedding, map(str, range(64))))
    seen = server.seen()
    assert (len(seen["requests"]), seen["max_in_flight"]) == (64, 5)


def test_requests_per_minute_spaces_requests(server, open_bridge):
    bridge = open_bridge(requests_per_minute=120)
    bridge.generate_embedding("the first request takes longer")
    server.script()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(bridge.generate_embedding, "abcd"))
    starts = sorted(request["at"] for request in server.requests())
    assert len(starts) == 4 and starts[-1] - starts[0] > 1


@pytest.mark.parametrize("stop", ["cancel", "timeout"])
def test_a_call_that_stops_closes_its_connection(server, open_bridge, stop):
    bridge = open_bridge()
    bridge.generate_embedding("the first request takes longer")
    assert_below(0.5, lambda: seconds_until_closed(server, bridge, stop))


def seconds_until_closed(server: FaultyServer, bridge: Any, stop: str) -> float:
    """Stop a call whose request gets no answer; return the seconds from its return to the end of the connection."""
    for timeout in (0.5, 5, 50):  # a longer one if the time was over before the request was sent
        server.script("stall")
        token = CancelToken()
        if stop == "cancel":
            server.cancel_at_a_request(token)
        options = EmbedOptions(cancel=token, timeout=timeout if stop == "timeout" else None)
        with pytest.raises(StoppedError) as stopped:
            bridge.embedder().embed(TEXTS, options)
        assert stopped.value.code == ("cancelled" if stop == "cancel" else "timeout")
        if server.requests():
            break
    returned = time.monotonic()
    # The server ends the request when its connection is closed, or after an hour
    while (request := server.requests()[0])["ended"] is None:
        assert time.monotonic() - returned < 30
        time.sleep(0.01)
    return request["ended"] - returned


def test_a_call_that_fails_while_it_is_stopped_logs_nothing(caplog):
    async def fail(emit):
        emit("an event")
        await asyncio.sleep(0.1)
        raise ValueError("nobody takes this")

    with Watch() as watch, pytest.raises(StoppedError):
        for _ in run_all([fail], watch, lambda event: (time.sleep(0.3), watch.stop("cancelled"))):
            raise AssertionError("no result")
    with Watch() as watch, pytest.raises(ValueError, match="nobody"):
        list(run_all([fail], watch))
    gc.collect()
    assert not caplog.records


def test_a_redirect_brings_nothing_to_the_other_host(server, open_bridge):
    bridge = open_bridge()
    server.script("redirect")
    with pytest.raises(BackendError):
        bridge.embedder().embed(TEXTS)
    assert [request["fault"] for request in server.requests()] == ["redirect"]


def test_a_proxy_of_the_environment_is_not_used_on_loopback(server, open_bridge, monkeypatch):
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    check_answer(open_bridge().embedder().embed(TEXTS))
    assert len(server.requests()) == 1


def test_nothing_shows_the_key_or_a_text(server, open_bridge, caplog, monkeypatch):
    """A server that quotes the key and the whole request in its errors: 1,000 calls that fail, with all logs on."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-text-9c1f"
    bridge = open_bridge(read_timeout=0.05, max_attempts=1)
    faults = ["400", "401", "403", "404", "429:s=0", "quota", "500", "400long", "garbage", "badb64", "close", "cut:60"]
    faults += ["stall", "redirect"]
    texts = [repr(bridge), repr(bridge.models()), repr(vars(bridge.embedder().backend.wire))]
    for number in range(1000):
        server.script(faults[number % len(faults)])
        with pytest.raises(OnnxMlBridgeError) as failed:
            if number % 2:
                bridge.embedder().embed([f"{canary} {number}"])
            else:
                bridge.summarizer().summarize([[f"{canary} {number}"]])
        error: BaseException | None = failed.value
        while error is not None:
            texts += [str(error), repr(error), repr(vars(error))]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    texts += [caplog.text, repr(all_numbers()), repr(bridge.status()), repr(bridge.health())]
    assert not [text for text in texts if canary in text or KEY in text]
    assert any("upstream" in text for text in texts)


def test_the_requests_are_those_of_the_contract(server, open_bridge):
    bridge = open_bridge({"labels": ["PERSON"], "context": 8000})
    bridge.generate_embeddings_batch(TEXTS)
    bridge.summarize(["one", 'two"}], "stream": false, {{text}'])
    entities = bridge.recognizer().recognize(["Yesterday Kofi signed."])[0]
    assert [(e.text, e.label, e.start) for e in entities] == [("Kofi", "PERSON", 10)]
    embedding, summary, ner = (request["body"] for request in server.requests())
    assert embedding == {"model": "m", "input": TEXTS, "encoding_format": "base64"}
    content = summary["messages"][0].pop("content")
    assert content.endswith('\n\none\ntwo"}], "stream": false, {{text}\n')
    assert summary == {
        "model": "m",
        "messages": [{"role": "user"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 256,
    }
    schema = ner["response_format"]["json_schema"]
    items = schema["schema"]["properties"]["entities"]["items"]
    assert schema["strict"] and items["properties"]["label"]["enum"] == ["PERSON"]


def test_many_texts_are_several_requests_and_their_order_is_kept(server, open_bridge):
    texts = [f"text {number}" for number in range(5000)] + ["x" * 9000]
    vectors = open_bridge().generate_embeddings_batch(texts)
    assert np.array_equal(vectors, np.stack([vector(text) for text in texts]))
    assert sorted(len(request["body"]["input"]) for request in server.requests()) == [1, 904, 2048, 2048]


def test_one_request_that_fails_does_not_lose_the_others(server, open_bridge):
    bridge = open_bridge(max_in_flight=1)
    server.script("ok", "400long")
    answers = bridge.embedder().embed_each(["short", "x" * 9000, " ", "y" * 9000])
    codes = [answer.code if isinstance(answer, OnnxMlBridgeError) else None for answer in answers]
    assert sorted(map(str, codes)) == ["None", "None", "context_too_long", "empty_input"]
    assert all(a.index == i for i, a in enumerate(answers) if isinstance(a, InputError))


def test_on_token_gets_the_parts_of_a_summary_in_the_thread_of_the_caller(open_bridge):
    parts = []
    here = threading.get_ident()
    show = lambda index, text: parts.append((index, text, threading.get_ident() == here))  # noqa: E731
    (summary,) = open_bridge().summarizer().summarize([MESSAGES], SummarizeOptions(on_token=show))
    assert parts == [(0, part, True) for part in ("The", " lease", " was", " signed.")]
    assert summary.text == "".join(text for _, text, _ in parts)


def test_a_long_input_is_read_in_chunks(server, open_bridge):
    bridge = open_bridge({"context": 400, "max_output_tokens": 50})
    messages = [f"Message {number} says that the lease was signed." for number in range(12)]
    (summary,) = bridge.summarizer().summarize([messages])
    *chunks, last = [request["body"]["messages"][0]["content"] for request in server.requests()]
    assert len(chunks) > 2 and all(len(content) <= 350 for content in chunks)
    assert all(any(message in content for content in chunks) for message in messages)
    assert last.endswith("\n".join([GOLDEN["summary"]] * len(chunks)) + "\n")
    assert summary.text == GOLDEN["summary"] and summary.usage == Usage(9 * (len(chunks) + 1), 4 * (len(chunks) + 1))


def test_what_does_not_fit_or_get_shorter_is_too_long(open_bridge):
    bridge = open_bridge({"context": 400, "max_output_tokens": 50})
    outcomes = bridge.summarizer().summarize_each([["short"], ["x" * 500], ["a b. " * 80]])
    assert [getattr(each, "code", None) for each in outcomes] == [None, "context_too_long", None]
    with pytest.raises(InputError) as refused:
        bridge.recognizer().recognize(["short", "x" * 500])
    assert (refused.value.code, refused.value.index) == ("context_too_long", 1)


def test_options_of_other_models_are_refused(open_bridge):
    bridge = open_bridge()
    for options in ({"num_beams": 2}, {"min_length": 1}, {"length_penalty": 1.0}, {"prompt": "no"}, {"temperature": 3}):
        with pytest.raises(ConfigError):
            bridge.summarizer().summarize([MESSAGES], SummarizeOptions(**options))
    with pytest.raises(ConfigError):
        bridge.embedder().embed(TEXTS, EmbedOptions(dimensions=2))
    with pytest.raises(ConfigError):
        list(bridge.embedder().embed_windows("a"))
    with pytest.raises(InputError) as refused:
        bridge.embedder().embed(TEXTS, EmbedOptions(prompt_name="query"))
    assert refused.value.code == "prompt_not_found"


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://localhost:1/v1", "http://192.168.0.1/v1"])
def test_local_only_refuses_servers_elsewhere(url, monkeypatch):
    monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", "1")
    with pytest.raises(BackendError) as refused:
        OpenAiMlBridge.open(summarization=ApiModel("m"), server=ApiServer(base_url=url))
    assert refused.value.code == "not_local"


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://host/v1"},
        {"base_url": "https://user:password@host/v1"},
        {"base_url": "https://host/v1?key=canary"},
        {"base_url": "https:///v1"},
        {"max_attempts": 0},
        {"max_in_flight": True},
        {"read_timeout": 0},
        {"api_key_env": "ONNX_ML_BRIDGE_NO_SUCH_KEY"},
    ],
)
def test_invalid_servers_are_refused(options):
    with pytest.raises(ConfigError) as refused:
        OpenAiMlBridge.open(summarization=ApiModel("m"), server=ApiServer(**options))
    assert "password" not in str(refused.value) and "canary" not in str(refused.value)


def test_health_costs_no_request_for_tokens(server, open_bridge):
    health = open_bridge().health()
    assert [(each.state, each.error) for each in health] == [("ready", None)] * 3
    assert not server.requests()
    gone = OpenAiMlBridge.open(summarization=ApiModel("m"), server=ApiServer(base_url="http://127.0.0.1:9/v1"))
    assert [(each.state, each.error) for each in gone.health()] == [("failed", "upstream")]


def test_connections_to_other_machines_are_kept_until_the_bridge_is_closed(monkeypatch):
    """As if loopback were another machine, because this one keeps no connection."""
    monkeypatch.setattr("onnx_ml_bridge.backends.wire.is_loopback", lambda url: False)
    opened, ended = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            opened.append(self.client_address)
            super().handle()
            ended.set()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"data": [{"index": 0, "embedding": [0.5]}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/v1"
        bridge = OpenAiMlBridge.open(embedding=ApiModel("m", dimensions=1), server=ApiServer(base_url=url))
        for _ in range(3):
            assert bridge.generate_embedding("a").tolist() == [0.5]
        assert len(opened) == 1 and not ended.is_set()
        bridge.close()
        assert ended.wait(30)
        bridge.close()
        running.shutdown()


def test_base64_is_little_endian():
    assert base64.b64decode("AACAPw==") == np.array([1], "<f4").tobytes()
