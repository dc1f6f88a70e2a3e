"""The metrics of models: their names, what they count, how Prometheus scrapes them, and that no text is in them."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from examples import VALID
from lanes import Caller, Row, call, wait_for, waiting
from onnx_ml_bridge import (
    BridgeOptions,
    CancelToken,
    DependencyError,
    Embedder,
    EmbedOptions,
    InputError,
    MetricsCollector,
    Model,
    OnnxMlBridge,
    OnnxMlBridgeError,
    RecognizeOptions,
    Reranker,
    SummarizeOptions,
    Summarizer,
)
from onnx_ml_bridge.runtime import meter, spans
from onnx_ml_bridge.runtime.lane import Lane, LaneOptions
from onnx_ml_bridge.runtime.lane_call import Run, run_of
from onnx_ml_bridge.runtime.meter import Histogram, Meter, all_numbers
from onnx_ml_bridge.runtime.metrics import METRICS, PREFIX
from opentelemetry import trace
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

ROOT = Path(__file__).parents[2]
EMBEDDING, NER, SPACY, SUMMARY, RERANK = (
    VALID / f"tiny-{name}" for name in ("embedding", "ner", "spacy", "summary", "rerank")
)
# A word of the texts of all calls
CANARY = "zqxcanary"
NAMES = {PREFIX + metric.name: metric.kind for metric in METRICS}
# What only other backends count, under a label that ONNX models do not have
OF_SERVERS = {PREFIX + "retries_total", PREFIX + "fallbacks_total"}
families = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")


class Change:
    """What changed in the numbers of a model while this context was active."""

    def __init__(self, name):
        self.name = name

    def numbers(self):
        found = [numbers for key, numbers in all_numbers().items() if key.model == self.name]
        return found[0] if found else meter.Numbers()

    def __enter__(self):
        self._before = self.numbers()
        return self

    def __exit__(self, *_):
        before, after = vars(self._before), vars(self.numbers())
        for name, value in after.items():
            was = before[name]
            change = value.count - was.count if isinstance(value, Histogram) else value - was
            setattr(self, name, change)


def scraped(registry=None):
    """The samples of a scrape by name and labels, and its text."""
    if registry is None:
        registry = CollectorRegistry()
        registry.register(MetricsCollector())
    text = generate_latest(registry).decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}, text


# -- Names


def rust_names():
    source = (ROOT / "bridge/src/runtime/meter.rs").read_text(encoding="utf-8")
    return {name: kind for kind, name in re.findall(r'metrics::(counter|gauge|histogram)!\("(\w+)"', source)}


def documented_names():
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))


def test_both_languages_and_the_documentation_have_the_same_names():
    assert rust_names() == NAMES
    assert documented_names() == NAMES


def test_the_documentation_of_rust_has_the_buckets_of_python():
    source = (ROOT / "bridge/src/lib.rs").read_text(encoding="utf-8")
    listed = re.search(r"let seconds = \[([^\]]*)\]", source)[1].replace("//!", "")
    assert tuple(float(each) for each in listed.split(",") if each.strip()) == meter.SECONDS
    powers = re.search(r"\(0\.\.=(\d+)\)\.map\(\|power\| f64::from\(1 << power\)\)", source)
    assert tuple(2.0**power for power in range(int(powers[1]) + 1)) == meter.TOKENS


# -- What is counted


@families
def test_a_call_counts_its_texts_their_tokens_and_its_run():
    embedder = Embedder.open(EMBEDDING)
    with Change("tiny-embedding") as change:
        answer = embedder.embed(["the cat", "a big red house"])
    assert (change.requests, change.items, change.tokens) == (1, 2, answer.token_counts.sum())
    assert (change.runs, change.run_seconds, change.run_tokens, change.queue_seconds) == (1, 1, 1, 1)
    assert (change.request_seconds, change.load_seconds, change.loaded, change.waiting) == (1, 1, 1, 0)
    assert not change.errors


@families
def test_the_size_of_a_run_includes_padding():
    embedder, tokens = Embedder.open(EMBEDDING), Change("tiny-embedding").numbers().run_tokens.sum
    counts = embedder.embed(["the cat", "a big red house on the river"]).token_counts
    assert counts[0] < counts[1]
    assert Change("tiny-embedding").numbers().run_tokens.sum - tokens == 2 * counts[1]


@families
def test_a_summary_counts_the_generated_tokens():
    summarizer = Summarizer.open(SUMMARY)
    with Change("tiny-summary") as change:
        (summary,) = summarizer.summarize([["the cat sings " * 9]], SummarizeOptions(num_beams=1, max_length=5))
    assert (change.requests, change.items, change.tokens) == (1, 1, summary.tokens)


@families
def test_a_ranking_counts_its_pairs_and_fails_as_a_whole():
    reranker = Reranker.open(RERANK, BridgeOptions(text_limit=100))
    documents = ["a cat", "a big red house"]
    with Change("tiny-rerank") as change:
        reranker.rerank("the cat", documents)
    tokens = int(reranker.backend.score("the cat", documents).token_counts.sum())
    assert (change.requests, change.items, change.tokens) == (1, 2, tokens)
    with Change("tiny-rerank") as change, pytest.raises(InputError):
        reranker.rerank("the cat", ["a cat", "x" * 101])
    assert (change.requests, change.items, change.errors) == (0, 0, {"input_too_large": 1})


@families
@pytest.mark.parametrize("each", [True, False])
def test_a_call_with_an_invalid_text_was_answered(each):
    embedder = Embedder.open(EMBEDDING, BridgeOptions(text_limit=100))
    texts = ["the cat", "x" * 101, "a cat"]
    with Change("tiny-embedding") as change:
        if each:
            answers = embedder.embed_each(texts)
        else:
            answers = []
            with pytest.raises(InputError):
                embedder.embed(texts)
    tokens = sum(answer.token_count for answer in answers if not isinstance(answer, OnnxMlBridgeError))
    assert (change.requests, change.items, change.tokens) == (1, 3, tokens)
    assert change.errors == {"input_too_large": 1}
    assert change.runs == int(each)


@families
@pytest.mark.parametrize("each", [True, False])
def test_every_text_of_a_stopped_call_is_an_error(each):
    embedder, token = Embedder.open(EMBEDDING), CancelToken()
    token.cancel()
    embed = embedder.embed_each if each else embedder.embed
    with Change("tiny-embedding") as change:
        try:
            embed(["the cat", "a cat"], EmbedOptions(cancel=token))
        except OnnxMlBridgeError:
            assert not each
    assert (change.requests, change.items, change.errors) == (1, 2, {"cancelled": 2})
    assert (change.runs, change.queue_seconds) == (0, 0)


@families
def test_an_error_of_all_texts_is_no_request():
    embedder = Embedder.open(EMBEDDING)
    with Change("tiny-embedding") as change, pytest.raises(InputError):
        embedder.embed(["the cat", "a cat"], EmbedOptions(prompt_name="unknown"))
    assert (change.requests, change.items, change.errors) == (0, 0, {"prompt_not_found": 1})


@families
def test_a_reload_and_a_close_of_a_loaded_model_are_unloads():
    with Change("tiny-embedding") as change, OnnxMlBridge.open(EMBEDDING) as bridge:
        bridge.embedder().embed(["the cat"])
        bridge.reload("tiny-embedding")
    assert (change.load_seconds, change.unloads, change.loaded) == (2, {"call": 2}, 0)


@families
def test_a_load_that_fails_is_an_error(monkeypatch):
    embedder = Embedder.open(EMBEDDING)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for load in (embedder.warm_up, lambda: embedder.embed(["the cat"])):
        with Change("tiny-embedding") as change, pytest.raises(DependencyError):
            load()
        assert (change.requests, change.errors) == (0, {"dependency": 1})


@families
def test_windows_are_one_request_when_all_were_read():
    embedder = Embedder.open(EMBEDDING)
    text = "the cat sings " * 200
    with Change("tiny-embedding") as change:
        next(embedder.embed_windows(text))
    assert change.requests == 0
    with Change("tiny-embedding") as change:
        windows = list(embedder.embed_windows(text))
    assert len(windows) > 1
    assert (change.requests, change.items, change.errors) == (1, 1, {})
    assert change.tokens == sum(window.token_count for window in windows)


# -- Lanes


def test_calls_wait_until_their_last_run_starts():
    own = Meter("waiting", "1")
    lane, gate, started = Lane(LaneOptions(merge=False), meter=own), threading.Event(), threading.Event()

    def held(rows, stop):
        started.set()
        assert gate.wait(30)
        return rows

    first = Caller(lane, [Run([1], held)])
    assert started.wait(30)
    others = [Caller(lane, [Run([1], lambda rows, stop: rows)]) for _ in range(2)]
    wait_for(lambda: all_numbers()[own].waiting == 2)
    gate.set()
    for each in (first, *others):
        each.result()
    numbers = all_numbers()[own]
    assert (numbers.waiting, numbers.queue_seconds.count) == (0, 3)


def test_every_call_of_a_merged_run_waits_and_one_of_several_runs_waits_once():
    own = Meter("merged", "1")
    lane, gate, started = Lane(meter=own), threading.Event(), threading.Event()
    sizes = []

    def work(rows, stop):
        sizes.append(len(rows))
        started.set()
        assert gate.wait(30)
        return [row.value for row in rows]

    def run(value):
        return run_of([Row(value, 4)], work, key="a", max_tokens=64)

    first = Caller(lane, [run(0)])
    assert started.wait(30)
    others = [Caller(lane, [run(value)]) for value in (1, 2)]
    waiting(lane, 2)
    gate.set()
    assert [each.result() for each in (first, *others)] == [[[0]], [[1]], [[2]]]
    assert sizes == [1, 2]
    assert all_numbers()[own].queue_seconds.count == 3
    call(lane, [run(3), run(4), run(5)])
    assert all_numbers()[own].queue_seconds.count == 4


# -- The registry of prometheus_client


def test_values_are_in_the_bucket_of_their_bound():
    own = Meter("histogram", "1")
    for seconds in (0.001, 0.0011, 400.0):
        own.run_ended(seconds)
    samples, _ = scraped()

    def bucket(bound):
        return samples[f'onnx_ml_bridge_run_seconds_bucket{{le="{bound}",model="histogram",version="1"}}']

    assert [bucket(bound) for bound in ("0.001", "0.0025", "300.0", "+Inf")] == [1, 2, 2, 3]
    assert samples['onnx_ml_bridge_run_seconds_count{model="histogram",version="1"}'] == 3
    assert samples['onnx_ml_bridge_run_seconds_sum{model="histogram",version="1"}'] == pytest.approx(400.0021)


def test_a_registry_takes_one_collector():
    registry = CollectorRegistry()
    registry.register(MetricsCollector())
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(MetricsCollector())


def test_without_prometheus_client_the_error_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client.metrics_core", None)
    with pytest.raises(DependencyError, match=r"Run: pip install 'onnx-ml-bridge\[metrics\]'"):
        MetricsCollector()


@families
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_process_counts_from_0():
    script = f"""
import os
from onnx_ml_bridge import Embedder
from onnx_ml_bridge.runtime.meter import all_numbers
embedder = Embedder.open({str(EMBEDDING)!r})
for _ in range(3):
    embedder.embed(["the cat"])
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    assert all_numbers() == {{}}
    embedder.embed(["the cat"])
print([(each.requests, each.runs, each.loaded) for each in all_numbers().values()], flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[(1, 1, 1)]", "[(3, 3, 1)]"], done.stderr


# -- Texts


def call_all(bridge):
    """Call every task: with answers, with truncated texts, with a text that is too large, and cancelled."""
    texts = [f"the old {CANARY} by the river", CANARY + " a" * 1000, CANARY * 500]
    token = CancelToken()
    for _ in range(2):
        embedder = bridge.embedder()
        embedder.embed_each(texts, EmbedOptions(cancel=token))
        fails(embedder.embed, texts, EmbedOptions(prompt_name=CANARY))
        fails(embedder.embed_windows(texts[1], EmbedOptions(cancel=token)).pool)
        for name in ("tiny-ner", "tiny-spacy"):
            bridge.recognizer(name).recognize_each(texts, RecognizeOptions(cancel=token))
        fails(bridge.recognizer("tiny-ner").recognize, texts, RecognizeOptions(aggregation_strategy=CANARY))
        options = SummarizeOptions(num_beams=1, min_length=0, max_length=4, cancel=token)
        bridge.summarizer().summarize_each([[text] for text in texts], options)
        bridge.reranker().rerank(CANARY, texts[:2])
        fails(bridge.reranker().rerank, CANARY, texts)
        token.cancel()


def fails(function, *arguments):
    try:
        function(*arguments)
    except OnnxMlBridgeError as error:
        return error
    return None


class Spans(trace.TracerProvider, trace.Tracer):
    """Records the spans of OpenTelemetry."""

    def __init__(self):
        self.seen = []

    def get_tracer(self, *_, **__):
        return self

    def start_span(self, *arguments, **options):
        raise AssertionError("spans are current ones")

    @contextmanager
    def start_as_current_span(self, name, **options):
        self.seen.append((name, options["attributes"]["model"], options["attributes"]["task"]))
        try:
            yield self
        except Exception as error:
            if options["record_exception"] or options["set_status_on_exception"]:
                self.seen.append(repr(error))
            raise


@pytest.fixture
def recorded(monkeypatch):
    """The spans of a test, with the names of their models and tasks."""
    provider = Spans()
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    spans._tracer.cache_clear()
    yield provider.seen
    spans._tracer.cache_clear()


def test_a_process_without_opentelemetry_has_no_spans(recorded, monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with spans.call_span("model", "ner"):
        pass
    assert not recorded
    assert "opentelemetry.trace" not in sys.modules


@families
def test_a_scrape_has_every_name_and_no_text(caplog, recorded):
    caplog.set_level(logging.DEBUG)
    models = [EMBEDDING, NER, Model(SPACY), SUMMARY, RERANK]
    bridge = OnnxMlBridge.open(*models, defaults={"ner": "tiny-ner"}, options=BridgeOptions(text_limit=4096))
    call_all(bridge)
    bridge.unload()
    registry = CollectorRegistry()
    registry.register(MetricsCollector())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert kinds == NAMES
    for name, kind in NAMES.items():
        if name in OF_SERVERS:
            continue
        sample = name + ("_count" if kind == "histogram" else "")
        for model in models:
            label = f'model="{getattr(model, "path", model).name}"'
            lines = [line for line in text.splitlines() if line.startswith(sample + "{") and label in line]
            assert lines, (sample, label)
    assert "loaded in" in caplog.text
    tasks = ("embedding", "ner", "ner", "summarization", "rerank")
    names = [path.name for path in (EMBEDDING, NER, SPACY, SUMMARY, RERANK)]
    assert set(recorded) == {("call", name, task) for name, task in zip(names, tasks, strict=True)}
    assert CANARY not in text + caplog.text + repr(recorded)
