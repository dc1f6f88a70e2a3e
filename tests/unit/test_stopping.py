"""Calls of all tasks are stopped by a token or a time limit; afterwards, no further run of a graph starts."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from examples import examples
from onnx_ml_bridge import (
    BridgeOptions,
    CancelToken,
    ConfigError,
    Embedder,
    EmbedOptions,
    Model,
    OnnxMlBridge,
    OnnxMlBridgeError,
    RecognizeOptions,
    Recognizer,
    Reranker,
    RerankOptions,
    StoppedError,
    SummarizeOptions,
    Summarizer,
)

TEXTS = [f"the cat sleeps in a big red house {'and a dog ' * (number % 3)}" for number in range(12)]
# A run has at most two of the texts; see `small_runs`
TOKENS_OF_A_RUN = 30
# The maximum time that a run waits until it is stopped; a test fails if the run is not stopped before
PATIENCE = 60.0
# A run that waits ends before the long limit, so that a call which is stopped by it has several runs
SHORT, LONG = 0.05, 10 * PATIENCE
every_example = pytest.mark.parametrize(
    ("family", "folder"), examples().items(), ids=[family.name for family in examples()]
)
listed_examples = {family: folder for family, folder in examples().items() if family.task != "rerank"}
every_list = pytest.mark.parametrize(
    ("family", "folder"), listed_examples.items(), ids=[family.name for family in listed_examples]
)


class Runs:
    """Counts the runs of all graphs; `during` is called in each, before the graph starts, with its number from 1."""

    def __init__(self) -> None:
        self.count = 0
        self.during: Callable[[int, Any], None] = lambda number, options: None
        self._lock = threading.Lock()

    def begin(self, options: Any) -> None:
        with self._lock:
            self.count += 1
            number = self.count
        self.during(number, options)

    def restart(self, during: Callable[[int, Any], None] | None = None) -> None:
        self.count = 0
        self.during = during or (lambda number, options: None)


@pytest.fixture
def runs(monkeypatch) -> Runs:
    made, run = Runs(), onnxruntime.InferenceSession.run

    def counted(session, outputs, feeds, options):
        made.begin(options)
        return run(session, outputs, feeds, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    return made


def wait_until_stopped(_: int, options: Any) -> None:
    """Wait in a run until the run is told to stop, as if the graph took that long."""
    deadline = time.monotonic() + PATIENCE
    while not options.terminate:
        assert time.monotonic() < deadline, "the run is not stopped"
        time.sleep(0.001)


@dataclass(frozen=True)
class Opened:
    """A handle with small runs, and its calls for `TEXTS`, whatever its task is."""

    handle: Any

    def options(self, **options: Any) -> Any:
        if isinstance(self.handle, Summarizer):
            return SummarizeOptions(num_beams=1, min_length=0, max_length=4, **options)
        kinds = {Embedder: EmbedOptions, Recognizer: RecognizeOptions, Reranker: RerankOptions}
        return kinds[type(self.handle)](**options)

    def inputs(self) -> list[Any]:
        return [[text] for text in TEXTS] if isinstance(self.handle, Summarizer) else TEXTS

    def call(self, **options: Any) -> Any:
        if isinstance(self.handle, Reranker):
            return self.handle.rerank("a dog", TEXTS, self.options(**options))
        full = {Embedder: "embed", Recognizer: "recognize", Summarizer: "summarize"}[type(self.handle)]
        return getattr(self.handle, full)(self.inputs(), self.options(**options))

    def each(self, **options: Any) -> list[Any]:
        full = {Embedder: "embed_each", Recognizer: "recognize_each", Summarizer: "summarize_each"}[type(self.handle)]
        return getattr(self.handle, full)(self.inputs(), self.options(**options))


@pytest.fixture
def opened(monkeypatch) -> Callable[..., Opened]:
    """The function `opened(family, folder)`, which opens an artifact and loads its graphs; its runs are small."""

    def get(family: Any, folder: Path, options: BridgeOptions | None = None, timeout: float | None = None) -> Opened:
        kinds = {kind.task.manifest_name: kind for kind in (Embedder, Recognizer, Summarizer, Reranker)}
        model = Model(folder, variant="fp32", timeout=timeout)
        handle = kinds[family.task].open(model, options or BridgeOptions(threads=1))
        small_runs(handle.backend, monkeypatch)
        handle.warm_up()
        return Opened(handle)

    return get


def small_runs(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the tokens of a run, by the budget of the backend, or for spaCy by the constant of its module.

    A token classifier returns the entities of a block of texts together, so its blocks are made small too.
    """
    module = sys.modules[type(backend).__module__]
    if hasattr(backend, "_token_budget"):
        backend._token_budget = TOKENS_OF_A_RUN
    else:
        monkeypatch.setattr(module, "RUN_TOKENS", TOKENS_OF_A_RUN)
    if hasattr(module, "_BLOCK_CHARACTERS"):
        monkeypatch.setattr(module, "_BLOCK_TEXTS", 2)


@every_example
def test_a_call_has_several_runs(family, folder, opened, runs):
    opened(family, folder).call()
    assert runs.count >= 4


@every_example
def test_a_cancelled_token_stops_a_call_before_its_first_run(family, folder, opened, runs):
    model, token = opened(family, folder), CancelToken()
    expected = model.call(cancel=token)
    token.cancel()
    runs.restart()
    with pytest.raises(StoppedError) as stopped:
        model.call(cancel=token)
    assert (stopped.value.code, stopped.value.is_retryable, runs.count) == ("cancelled", False, 0)
    assert model.call(cancel=CancelToken()) == expected


@every_list
def test_a_cancelled_token_is_the_error_of_each(family, folder, opened, runs):
    model, token = opened(family, folder), CancelToken()
    token.cancel()
    found = model.each(cancel=token)
    assert [each.code for each in found] == ["cancelled"] * len(TEXTS) and runs.count == 0


def cancel_in_run(number: int, token: CancelToken) -> Callable[[int, Any], None]:
    """Return a function for `Runs.during` that cancels a token in one run.

    Later runs, which have begun in other threads, wait for that: their threads would begin further runs otherwise.
    """
    is_cancelled = threading.Event()

    def during(run: int, _: Any) -> None:
        if run == number:
            token.cancel()
            is_cancelled.set()
        elif run > number:
            assert is_cancelled.wait(PATIENCE)

    return during


@every_example
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_is_cancelled_during_a_run(family, folder, opened, runs, threads):
    options = BridgeOptions(threads=threads)
    expected = opened(family, folder, options).call()
    for number in (1, 3):
        model, token = opened(family, folder, options), CancelToken()
        runs.restart(cancel_in_run(number, token))
        with pytest.raises(StoppedError) as stopped:
            model.call(cancel=token)
        assert stopped.value.code == "cancelled"
        # Runs of other threads may already have begun
        assert number <= runs.count <= number + threads - 1
        runs.restart()
        assert model.call() == expected


@every_example
def test_a_time_limit_stops_a_running_graph(family, folder, opened, runs):
    model = opened(family, folder)
    expected = model.call()
    runs.restart(wait_until_stopped)
    started = time.monotonic()
    with pytest.raises(StoppedError) as stopped:
        model.call(timeout=SHORT)
    assert SHORT <= time.monotonic() - started < PATIENCE
    assert (stopped.value.code, stopped.value.is_retryable) == ("timeout", True)
    assert runs.count <= 1
    runs.restart()
    assert model.call(timeout=LONG) == expected


@every_list
def test_each_keeps_the_results_that_are_ready(family, folder, opened, runs):
    expected = opened(family, folder).each()
    assert not any(isinstance(each, OnnxMlBridgeError) for each in expected)
    last, token, model = runs.count, CancelToken(), opened(family, folder)
    runs.restart(lambda run, _: token.cancel() if run == last else None)
    found = model.each(cancel=token)
    assert runs.count == last
    errors = [index for index, each in enumerate(found) if isinstance(each, OnnxMlBridgeError)]
    assert 0 < len(errors) < len(TEXTS) / 2
    assert {found[index].code for index in errors} == {"cancelled"}
    assert all(found[index] == expected[index] for index in range(len(TEXTS)) if index not in errors)
    runs.restart()
    assert model.each() == expected


@every_list
def test_a_time_limit_is_the_error_of_the_rest(family, folder, opened, runs):
    model = opened(family, folder)
    expected = model.each()
    runs.restart(wait_until_stopped)
    found = model.each(timeout=SHORT)
    assert [each.code for each in found] == ["timeout"] * len(TEXTS) and runs.count <= 1
    runs.restart()
    assert model.each() == expected


def slow_first_run(number: int, options: Any) -> None:
    if number == 1:
        time.sleep(3 * SHORT)


@every_example
@pytest.mark.parametrize(
    ("options", "model_timeout", "call_timeout", "is_stopped"),
    [
        (None, None, None, False),
        (SHORT, None, None, True),
        (None, SHORT, None, True),
        (LONG, SHORT, None, True),
        (SHORT, LONG, None, False),
        (LONG, LONG, SHORT, True),
        (SHORT, None, LONG, False),
        (None, SHORT, LONG, False),
    ],
)
def test_the_time_limit_of_a_call_overrides_that_of_the_model(
    family, folder, opened, runs, options, model_timeout, call_timeout, is_stopped
):
    model = opened(family, folder, BridgeOptions(threads=1, timeout=options), model_timeout)
    runs.restart(wait_until_stopped if is_stopped else slow_first_run)
    if is_stopped:
        with pytest.raises(StoppedError) as stopped:
            model.call(timeout=call_timeout)
        assert stopped.value.code == "timeout" and runs.count <= 1
    else:
        assert model.call(timeout=call_timeout) is not None
        assert runs.count >= 4


@every_example
def test_the_time_limit_of_a_model_applies_to_the_calls_of_a_bridge(family, folder, runs):
    bridge = OnnxMlBridge.open(Model(folder, "stopped", timeout=SHORT), options=BridgeOptions(timeout=LONG))
    bridge.warm_up()
    runs.restart(wait_until_stopped)
    call = {
        "embedding": lambda: bridge.generate_embedding("a cat"),
        "ner": lambda: bridge.extract_entities("a cat"),
        "summarization": lambda: bridge.summarize(["a cat"]),
        "rerank": lambda: bridge.rerank("a dog", ["a cat"]),
    }[bridge.models()[0].task]
    with pytest.raises(StoppedError) as stopped:
        call()
    assert stopped.value.code == "timeout"


@every_example
@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), float("inf"), 1e300, "5", True])
def test_invalid_time_limits_are_refused(family, folder, opened, runs, timeout):
    for arguments in ({"options": BridgeOptions(timeout=timeout)}, {"timeout": timeout}):
        with pytest.raises(ConfigError, match="timeout"):
            opened(family, folder, **arguments)
    model = opened(family, folder)
    for call in (model.call, *([] if isinstance(model.handle, Reranker) else [model.each])):
        with pytest.raises(ConfigError, match="timeout"):
            call(timeout=timeout)
    assert runs.count == 0


@pytest.mark.parametrize("name", ["embed", "embed_each"])
@pytest.mark.families("sentence_embedding")
def test_a_call_in_a_thread_of_asyncio_is_cancelled_by_its_token(opened, runs, name):
    embedder, token = embedder_of(opened), CancelToken()
    in_run = threading.Event()

    def during(number: int, options: Any) -> None:
        if number == 2:
            in_run.set()
            wait_until_stopped(number, options)

    async def cancelled() -> Any:
        task = asyncio.create_task(asyncio.to_thread(getattr(embedder, name), TEXTS, EmbedOptions(cancel=token)))
        assert await asyncio.to_thread(in_run.wait, PATIENCE)
        token.cancel()
        return await task

    runs.restart(during)
    if name == "embed":
        with pytest.raises(StoppedError) as stopped:
            asyncio.run(cancelled())
        assert stopped.value.code == "cancelled"
    else:
        codes = [getattr(each, "code", None) for each in asyncio.run(cancelled())]
        assert set(codes) == {None, "cancelled"}
    assert runs.count == 2


@pytest.mark.families("sentence_embedding")
def test_after_wait_for_the_token_ends_the_call_in_the_thread(opened, runs):
    """`asyncio.wait_for` stops waiting, but it cannot stop a thread; the token can."""
    embedder, token, ended = embedder_of(opened), CancelToken(), []
    in_run = threading.Event()

    def during(number: int, options: Any) -> None:
        in_run.set()
        wait_until_stopped(number, options)

    def embed() -> None:
        try:
            embedder.embed(TEXTS, EmbedOptions(cancel=token))
        except StoppedError as error:
            ended.append(error.code)

    async def waited() -> None:
        task = asyncio.create_task(asyncio.to_thread(embed))
        # A call that is cancelled before its thread has begun never begins
        assert await asyncio.to_thread(in_run.wait, PATIENCE)
        try:
            await asyncio.wait_for(task, SHORT)
        except TimeoutError:
            assert ended == []
            token.cancel()
            raise

    runs.restart(during)
    with pytest.raises(TimeoutError):
        asyncio.run(waited())  # waits for the thread at the end
    assert (ended, runs.count) == (["cancelled"], 1)
    runs.restart()
    assert len(embedder.embed(TEXTS)) == len(TEXTS)


def embedder_of(opened: Callable[..., Opened]) -> Embedder:
    (found,) = (item for item in examples().items() if item[0].task == Embedder.task.manifest_name)
    embedder = opened(*found).handle
    assert isinstance(embedder, Embedder)
    return embedder
