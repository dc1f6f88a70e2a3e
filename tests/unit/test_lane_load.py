"""Models under many concurrent calls: no call is lost, answers are those of calls alone; lanes work after a fork."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from examples import VALID
from lanes import PATIENCE, Caller, Engine, Row, call, wait_for, waiting
from onnx_ml_bridge import (
    BridgeOptions,
    CancelToken,
    Embedder,
    EmbedOptions,
    InferenceError,
    Model,
    OverloadedError,
    RecognizeOptions,
    Recognizer,
    Reranker,
    RerankOptions,
    StoppedError,
    SummarizeOptions,
    Summarizer,
)
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.lane import Lane, LaneOptions

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")
EMBEDDING, NER, SPACY, SUMMARY, RERANK = (
    VALID / f"tiny-{name}" for name in ("embedding", "ner", "spacy", "summary", "rerank")
)
WORDS = ["the", "cat", "Ann", "Bo", "on", "Paris", "a", "big", "red", "house", "sings", "and", "dog", "sleeps", "in"]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=1 + seed % 30)) for seed in range(64)]


def concurrently(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run a function in threads that begin together, and return its results."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:
        barrier.wait(PATIENCE)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@contextmanager
def held(lane: Lane, count: int) -> Iterator[None]:
    """Let no call of a lane run until `count` calls wait."""
    engine = Engine()
    engine.free.clear()
    first = Caller(lane, [engine.run(0, key=None)])
    wait_for(lambda: lane.status().running == 1)

    def release() -> None:
        try:
            waiting(lane, count)
        finally:
            engine.free.set()

    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(release)
        yield
        released.result()
    first.result()


@pytest.fixture
def rows_of_runs(monkeypatch) -> list[int]:
    """The number of rows of every run of a graph with token ids."""
    rows: list[int] = []
    run = onnxruntime.InferenceSession.run

    def counted(session: Any, outputs: Any, feeds: Any, options: Any) -> Any:
        rows.extend(len(feeds[name]) for name in feeds if name == "input_ids")
        return run(session, outputs, feeds, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    return rows


def callers() -> dict[str, tuple[Path, Callable[[Any, str], Any]]]:
    """For every task that merges: an artifact, and a call that returns an array."""

    def scores(recognizer: Recognizer, text: str) -> Any:
        options = RecognizeOptions(aggregation_strategy="none")
        return np.array([[each.start, each.end, each.score] for each in recognizer.recognize([text], options)[0]])

    def ranked(reranker: Reranker, text: str) -> Any:
        found = reranker.rerank("a dog", [text, "the cat"])
        return np.array([each.score for each in sorted(found, key=lambda each: each.index)])

    return {
        "embed": (EMBEDDING, lambda embedder, text: embedder.embed([text]).vectors),
        "recognize": (NER, scores),
        "rerank": (RERANK, ranked),
    }


KINDS = {"embed": Embedder, "recognize": Recognizer, "rerank": Reranker}


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pytest.mark.parametrize("name", callers())
def test_64_callers_get_the_answers_of_each_alone(name, variant, rows_of_runs):
    folder, ask = callers()[name]
    alone = KINDS[name].open(Model(folder, variant=variant), BridgeOptions(threads=1))
    expected = [ask(alone, text) for text in TEXTS]
    for merge, limit in ((False, 0.0), (True, 1e-6)):
        handle = KINDS[name].open(Model(folder, variant=variant, merge=merge), BridgeOptions(threads=1))
        handle.warm_up()
        rows_of_runs.clear()
        for _ in range(3):
            with held(handle.backend.lane, len(TEXTS)):
                found = concurrently(lambda number, handle=handle: ask(handle, TEXTS[number]), len(TEXTS))
            for together, apart in zip(found, expected, strict=True):
                assert together.shape == apart.shape and np.abs(together - apart).max(initial=0.0) <= limit
        assert (max(rows_of_runs) > 2) == merge


def test_spacy_and_summaries_of_concurrent_callers_are_those_of_each_alone():
    recognizer, summarizer = Recognizer.open(SPACY), Summarizer.open(SUMMARY)
    options = SummarizeOptions(num_beams=2, min_length=0, max_length=8)
    spans = [recognizer.recognize([text]) for text in TEXTS]
    summaries = [summarizer.summarize([[text]], options) for text in TEXTS[:16]]
    assert concurrently(lambda number: recognizer.recognize([TEXTS[number]]), len(TEXTS)) == spans
    assert concurrently(lambda number: summarizer.summarize([[TEXTS[number]]], options), 16) == summaries


# -- 1,000 random cancellations and time limits lose no other call


def test_1000_random_stops_lose_no_other_call_and_stopped_calls_run_nothing_later():
    lane, engine, chance = Lane(LaneOptions(max_waiting=2000)), Engine(), random.Random(7)
    watches = {number: Watch() for number in range(2000)}
    stopped_before: set[int] = set()
    work, lock = engine.work, threading.Lock()
    stops = iter(chance.sample(range(2000), 1000))

    def stopping(rows: Any, stop: Any) -> Any:
        """Stop a call at random in every run, as other threads do, and note which runs began after their stop."""
        with lock:
            late = {row.value for row in rows} & stopped_before
            assert not late or len({row.value for row in rows}) > len(late), "a run of stopped calls began"
            if (number := next(stops, None)) is not None:
                watches[number].stop(chance.choice(["cancelled", "timeout"]))
                stopped_before.add(number)
        return work(rows, stop)

    def ask(first: int) -> list[Any]:
        outcomes = []
        for number in range(first, first + 20):
            try:
                # The limit of tokens is low, so that the runs are more than the stops even if all of them are full
                run = [engine.run(Row(number, 1 + number % 5), max_tokens=8) for _ in range(3)]
                outcomes.append(call(lane, run, watches[number]))
            except StoppedError as error:
                outcomes.append(error)
        return outcomes

    engine.work = stopping  # type: ignore[method-assign]
    found = [each for outcomes in concurrently(lambda number: ask(20 * number), 100) for each in outcomes]
    for number, outcome in enumerate(found):
        if isinstance(outcome, StoppedError):
            assert number in stopped_before
        else:
            assert outcome == [[10 * number]] * 3
    lost = sum(isinstance(outcome, StoppedError) for outcome in found)
    assert 0 < lost <= 1000 and len(stopped_before) == 1000
    assert lane.status().waiting == lane.status().running == 0 and not lane._queue


@pytest.mark.parametrize("name", ["embed", "recognize", "spacy", "summarize", "rerank"])
def test_random_stops_of_every_task_lose_no_other_call(name):
    handle, ask = stoppable(name)
    expected = [ask(handle, number, None) for number in range(16)]

    def stop_or_ask(caller: int) -> None:
        chance = random.Random(caller)
        for _ in range(12):
            number = chance.randrange(16)
            token, timeout = CancelToken(), chance.choice([None, None, 0.0005, 0.002, 0.01])
            if chance.random() < 0.3:
                threading.Timer(chance.random() * 0.01, token.cancel).start()
            try:
                assert ask(handle, number, (token, timeout)) == expected[number]
            except StoppedError as error:
                assert error.code == "cancelled" or timeout is not None
            assert ask(handle, number, None) == expected[number]

    concurrently(stop_or_ask, 8)
    lane = handle.backend.lane
    wait_for(lambda: lane.status().running == 0)
    assert lane.status().waiting == 0 and not lane._queue


def stoppable(name: str) -> tuple[Any, Callable[[Any, int, Any], Any]]:
    """Return a handle of a task, without merged runs, and a call of it that can be stopped."""

    def limits(stop: Any) -> dict[str, Any]:
        return {} if stop is None else {"cancel": stop[0], "timeout": stop[1]}

    def of(number: int) -> list[str]:
        return TEXTS[number : number + 8]

    def summarize(handle: Any, number: int, stop: Any) -> Any:
        options = SummarizeOptions(num_beams=1, min_length=0, max_length=4, **limits(stop))
        return handle.summarize([[text] for text in of(number)[:3]], options)

    kinds: dict[str, tuple[Any, Path, Callable[[Any, int, Any], Any]]] = {
        "embed": (Embedder, EMBEDDING, lambda h, n, stop: h.embed(of(n), EmbedOptions(**limits(stop)))),
        "recognize": (Recognizer, NER, lambda h, n, stop: h.recognize(of(n), RecognizeOptions(**limits(stop)))),
        "spacy": (Recognizer, SPACY, lambda h, n, stop: h.recognize(of(n), RecognizeOptions(**limits(stop)))),
        "summarize": (Summarizer, SUMMARY, summarize),
        "rerank": (Reranker, RERANK, lambda h, n, stop: h.rerank("a dog", of(n), RerankOptions(**limits(stop)))),
    }
    kind, folder, ask = kinds[name]
    return kind.open(Model(folder, variant="fp32", merge=False), BridgeOptions(threads=1)), ask


@pytest.mark.parametrize("name", ["embed", "recognize", "spacy", "summarize", "rerank"])
def test_a_full_queue_refuses_calls_of_every_task_before_they_run(name, rows_of_runs):
    _, ask = stoppable(name)
    kind, folder = {
        "embed": (Embedder, EMBEDDING),
        "recognize": (Recognizer, NER),
        "spacy": (Recognizer, SPACY),
        "summarize": (Summarizer, SUMMARY),
        "rerank": (Reranker, RERANK),
    }[name]
    handle: Any = kind.open(folder, BridgeOptions(threads=1, max_waiting=2))
    expected, lane = ask(handle, 0, None), handle.backend.lane
    with Watch() as watch, lane.call(watch), lane.call(watch):
        rows_of_runs.clear()
        with pytest.raises(OverloadedError):
            ask(handle, 0, None)
        assert rows_of_runs == [] and handle.status().waiting == 2
    assert ask(handle, 0, None) == expected


def test_each_keeps_its_results_if_the_queue_is_full_when_the_other_inputs_run_again(monkeypatch):
    embedder = Embedder.open(Model(EMBEDDING, variant="fp32"))
    backend: Any = embedder.backend
    backend._token_budget = 1
    texts = ["a", "a cat", "a big red house"]
    expected, embed = embedder.embed_each(texts), backend._embed

    def failing(encoded: Any, stop: Any, prompt_tokens: int) -> Any:
        rows = embed(encoded, stop, prompt_tokens)
        if len(encoded[0].ids) == expected[0].token_count:
            backend.lane._max_waiting = 0  # no further call is admitted
            raise InferenceError("the shortest text, which runs last")
        return rows

    monkeypatch.setattr(backend, "_embed", failing)
    refused, *found = embedder.embed_each(texts)
    assert found == expected[1:] and isinstance(refused, OverloadedError)
    with pytest.raises(OverloadedError):
        embedder.embed_each(texts)


# -- A fork

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def succeeds_in_child(work: Callable[[], bool]) -> bool:
    """Fork, run a function in the child, and return whether it returned true."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if work() else 3)
        finally:
            os._exit(4)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_fork
def test_a_lane_whose_worker_runs_and_whose_queue_is_full_works_in_the_child():
    lane, engine = Lane(LaneOptions(max_waiting=2)), Engine()
    engine.free.clear()
    first = Caller(lane, engine.apart(0, 1))
    wait_for(lambda: bool(engine.runs))
    second = Caller(lane, engine.apart(2))
    waiting(lane, 2)

    def in_child() -> bool:
        other, status = Engine(), lane.status()
        answers = [Caller(lane, other.apart(number, number)) for number in range(2)]
        return (status.waiting, status.running) == (0, 0) and [each.result() for each in answers] == [
            [[0], [0]],
            [[10], [10]],
        ]

    with lane._lock:
        assert succeeds_in_child(in_child)
    engine.free.set()
    assert (first.result(), second.result()) == ([[0], [10]], [[20]])


@needs_fork
def test_a_call_that_forks_between_two_runs_goes_on_in_both_processes():
    lane, engine = Lane(), Engine()
    with Watch() as watch, lane.call(watch) as admitted:
        answers = admitted.run(engine.apart(0, 1, 2), is_last=True)
        assert next(answers) == (0, [0])
        assert succeeds_in_child(lambda: list(answers) == [(1, [10]), (2, [20])])
        assert list(answers) == [(1, [10]), (2, [20])]


@needs_fork
@pytest.mark.parametrize("name", ["embed", "recognize", "spacy", "summarize", "rerank"])
def test_children_answer_while_callers_wait_in_the_parent(name):
    handle, ask = stoppable(name)
    expected, is_done = ask(handle, 0, None), threading.Event()

    def use() -> None:
        while not is_done.is_set():
            ask(handle, 0, None)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: handle.status().waiting > 0)
        for _ in range(3):
            assert succeeds_in_child(lambda: ask(handle, 0, None) == expected)
    finally:
        is_done.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert ask(handle, 0, None) == expected


@pytest.fixture(autouse=True)
def no_thread_is_left_in_a_run() -> Iterator[None]:
    yield
    wait_for(lambda: not any(thread.name.startswith("Thread-") for thread in threading.enumerate()))
