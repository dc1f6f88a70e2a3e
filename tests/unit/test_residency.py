"""The loads and unloads of models: once under concurrent calls, within a memory limit, never under a running call."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from onnx_ml_bridge.artifacts.errors import ArtifactError, ConfigError, StoppedError
from onnx_ml_bridge.runtime import housekeeping, life, meter, residency
from onnx_ml_bridge.runtime.budget import Budget
from onnx_ml_bridge.runtime.cancellation import Watch
from onnx_ml_bridge.runtime.meter import UnloadReason
from onnx_ml_bridge.runtime.residency import Conditions, Resident

MEBIBYTE = 1 << 20
PATIENCE = 30.0


class Graphs:
    """Graphs that count what happens to them. `ready` lets a load end; `errors` are raised by the next loads."""

    def __init__(self):
        self.loads = self.unloads = 0
        self.is_loaded = False
        self.ready = threading.Event()
        self.ready.set()
        self.errors = []

    def load(self):
        assert self.ready.wait(PATIENCE)
        if self.errors:
            raise self.errors.pop()
        assert not self.is_loaded
        self.loads += 1
        self.is_loaded = True

    def unload(self):
        assert self.is_loaded
        self.unloads += 1
        self.is_loaded = False


@pytest.fixture(autouse=True)
def memory_is_not_measured(monkeypatch):
    """Fake graphs take no memory: their size is that of their files."""
    monkeypatch.setattr(residency.memory, "process_bytes", lambda: None)


def model(budget=None, mebibytes=1, idle_unload=None, name="model"):
    graphs = Graphs()
    return graphs, resident(
        graphs, Conditions(lambda: None, mebibytes * MEBIBYTE, idle_unload, budget or Budget()), name
    )


def resident(graphs, conditions, name="model"):
    return Resident(graphs, name, "1", conditions)


@contextmanager
def calling(model, watch=None):
    call = model.enter(watch)
    assert call is not None
    try:
        yield
    finally:
        model.leave(call)


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def counts(name):
    return next(numbers for known, numbers in meter.all_numbers().items() if known.model == name)


# -- Loads


def test_concurrent_first_calls_load_once():
    graphs, loaded = model()
    graphs.ready.clear()
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(loaded.enter) for _ in range(16)]
        eventually(lambda: loaded.state == "loading")
        graphs.ready.set()
        assert all(call.result(PATIENCE) is not None for call in calls)
    assert (graphs.loads, graphs.unloads) == (1, 0)


def test_calls_that_wait_for_a_load_fail_with_it_and_a_later_call_loads_again(monkeypatch):
    graphs, loaded = model()
    waiting, wait = set(), life.LIFE.wait

    def noted(watch):
        waiting.add(threading.get_ident())
        wait(watch)

    monkeypatch.setattr(life.LIFE, "wait", noted)
    graphs.ready.clear()
    graphs.errors = [ArtifactError("graph", "broken")]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(loaded.enter) for _ in range(8)]
        eventually(lambda: len(waiting) == 7)  # a call that comes after the load that fails would load again
        graphs.ready.set()
        errors = [call.exception(PATIENCE) for call in calls]
    assert {str(error) for error in errors} == {"broken"} and graphs.loads == 0
    assert loaded.failure is errors[0]
    with calling(loaded):
        assert graphs.is_loaded and loaded.failure is None


def test_a_call_that_waits_for_a_load_can_be_stopped():
    graphs, loaded = model()
    graphs.ready.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(loaded.enter)
        eventually(lambda: loaded.state == "loading")
        with Watch(0.05) as watch, pytest.raises(StoppedError):
            loaded.enter(watch)
        graphs.ready.set()
        assert first.result(PATIENCE) is not None and graphs.loads == 1


def test_a_model_whose_files_changed_during_the_load_is_not_kept():
    problems = [ArtifactError("file_hash", "changed"), None]

    def prepare():
        if (problem := problems.pop()) is not None:
            raise problem

    graphs = Graphs()
    loaded = resident(graphs, Conditions(prepare))
    with pytest.raises(ArtifactError, match="changed"):
        loaded.enter()
    assert (graphs.loads, graphs.unloads, loaded.state) == (1, 1, "unloaded")


# -- Unloads


@pytest.mark.parametrize("reason", UnloadReason)
def test_a_model_in_use_is_not_unloaded(reason):
    graphs, loaded = model()
    with calling(loaded), calling(loaded):
        assert not loaded.unload(reason)
    assert graphs.unloads == 0
    assert loaded.unload(reason) and not loaded.unload(reason) and graphs.unloads == 1


def test_an_unload_waits_for_the_calls_and_does_not_stop_new_ones():
    graphs, loaded = model()
    with calling(loaded):
        loaded.unload_when_idle()
        with calling(loaded):
            assert graphs.unloads == 0
        assert graphs.is_loaded
    assert graphs.unloads == 1
    loaded.load()
    assert graphs.is_loaded and graphs.loads == 2


def test_a_retired_model_refuses_calls_and_is_unloaded_after_the_last_one():
    graphs, loaded = model()
    with calling(loaded):
        loaded.retire()
        assert loaded.enter() is None and graphs.is_loaded
    assert not graphs.is_loaded
    loaded.wait_for_calls()


def test_waiting_for_calls_ends_with_the_last_call_of_another_thread():
    _, loaded = model()
    ended = threading.Event()

    def call():
        with calling(loaded):
            time.sleep(0.2)
            ended.set()

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: loaded.is_loaded)
    loaded.retire()
    loaded.wait_for_calls()
    assert ended.is_set()
    thread.join()


def test_a_call_can_close_its_own_model():
    graphs, loaded = model()
    with calling(loaded):
        loaded.retire()
        loaded.wait_for_calls()
    assert not graphs.is_loaded


def test_loads_and_unloads_are_counted_by_reason():
    _, loaded = model(name="counted", mebibytes=3)
    for reason in (*UnloadReason, UnloadReason.IDLE):
        with calling(loaded):
            assert (counts("counted").loaded, counts("counted").resident_bytes) == (1, 3 * MEBIBYTE)
        assert loaded.unload(reason)
    found = counts("counted")
    assert (found.load_seconds.count, found.loaded, found.resident_bytes) == (5, 0, 0)
    assert found.unloads == {"idle": 2, "memory_mb": 1, "pressure": 1, "call": 1}
    loaded.load()
    assert counts("counted").loaded == 1
    del loaded
    # The thread that unloads idle models may still look at this one
    eventually(lambda: (counts("counted").loaded, counts("counted").resident_bytes) == (0, 0))


# -- Idle models and scarce memory


def test_an_idle_model_is_unloaded_after_its_time_and_loaded_by_the_next_call():
    graphs, loaded = model(idle_unload=0.3, name="idle")
    other, kept = model()
    kept.load()
    with calling(loaded):
        time.sleep(0.7)
        assert graphs.is_loaded
    eventually(lambda: not graphs.is_loaded and counts("idle").unloads == {"idle": 1})
    assert other.is_loaded
    with calling(loaded):
        assert graphs.loads == 2


def test_no_thread_is_left_without_loaded_models():
    _, loaded = model(idle_unload=0.05)
    housekeeper = housekeeping._HOUSEKEEPER
    with calling(loaded):  # a model in use is not unloaded
        assert housekeeper._thread is not None
    eventually(lambda: not loaded.is_loaded)
    eventually(lambda: housekeeper._thread is None or any(each.is_loaded for each in housekeeper._models))


def test_scarce_memory_unloads_idle_models_that_were_used_longest_ago_first():
    (first, a), (second, b), (third, c), (used, d) = (model() for _ in range(4))
    for each in (d, b, a, c):
        each.load()
    answers = iter([True, True, False])
    with calling(d):
        housekeeping.relieve([a, b, c, d], lambda: next(answers))
        assert used.is_loaded
    assert [graphs.is_loaded for graphs in (first, second, third)] == [False, False, True]


# -- The memory limit


def test_a_load_unloads_idle_models_that_were_used_longest_ago():
    budget = Budget(32)
    (first, a), (second, b), (third, c), (fourth, d) = (model(budget, mebibytes=10) for _ in range(4))
    for each in (a, b, c):
        each.load()
    with calling(a):
        pass
    d.load()
    assert [graphs.is_loaded for graphs in (first, second, third, fourth)] == [True, False, True, True]
    assert counts("model").unloads["memory_mb"] >= 1


def test_a_model_that_exceeds_the_limit_alone_is_refused():
    graphs, loaded = model(Budget(2), mebibytes=3)
    with pytest.raises(ConfigError, match="memory_mb, expected at least 3 for model, got 2"):
        loaded.enter()
    assert graphs.loads == 0 and loaded.state == "unloaded"


def test_a_load_waits_for_a_model_in_use_which_then_leaves():
    budget = Budget(1)
    (first, a), (second, b) = model(budget), model(budget)
    with ThreadPoolExecutor(2) as pool:
        call = a.enter()
        waiting = pool.submit(b.load)
        eventually(lambda: a.is_leaving)
        late = pool.submit(a.load)  # waits until the other model had its turn
        time.sleep(0.1)
        assert first.is_loaded and not second.is_loaded and not late.done()
        a.leave(call)
        waiting.result(PATIENCE)
        late.result(PATIENCE)
    assert (first.loads, first.unloads, second.loads, second.unloads) == (2, 1, 1, 1)


def test_a_load_that_waits_for_memory_can_be_stopped():
    budget = Budget(1)
    (_, a), (graphs, b) = model(budget), model(budget)
    call = a.enter()

    def stopped():
        with Watch(0.05) as watch, pytest.raises(StoppedError):
            b.enter(watch)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stopped).result(PATIENCE)
    a.leave(call)
    assert graphs.loads == 0 and b.state == "unloaded"
    b.load()
    assert graphs.is_loaded


def test_models_stay_if_the_load_that_needs_their_memory_is_stopped():
    budget = Budget(1)
    (graphs, a), (_, b) = model(budget), model(budget)

    def stopped():
        with Watch(0.05) as watch, pytest.raises(StoppedError):
            b.enter(watch)

    with ThreadPoolExecutor(1) as pool, calling(a):
        pool.submit(stopped).result(PATIENCE)
        pool.submit(a.load).result(PATIENCE)
    assert graphs.is_loaded and graphs.loads == 1


def test_a_model_that_is_larger_than_expected_unloads_others_after_its_load(monkeypatch):
    budget = Budget(100)
    (first, a), (second, b), (third, c) = (model(budget, mebibytes=10) for _ in range(3))
    for each in (a, b):
        each.load()
    memory = iter([0, 85 * MEBIBYTE])
    monkeypatch.setattr(residency.memory, "process_bytes", lambda: next(memory))
    c.load()
    assert (c.size, first.is_loaded, second.is_loaded, third.is_loaded) == (85 * MEBIBYTE, False, True, True)


def test_a_call_within_a_call_does_not_wait_for_memory():
    budget = Budget(1)
    (_, a), (graphs, b) = model(budget), model(budget)
    with calling(a):
        b.load()
        assert graphs.is_loaded


def test_a_call_within_a_call_of_a_model_without_the_limit_waits_for_memory():
    budget = Budget(1)
    (_, a), (graphs, b), (_, chain) = model(budget), model(budget), model()

    def call_through_the_chain():
        with calling(chain), Watch(0.05) as watch, pytest.raises(StoppedError):
            b.enter(watch)

    with ThreadPoolExecutor(1) as pool, calling(a):
        pool.submit(call_through_the_chain).result(PATIENCE)
    assert graphs.loads == 0


@contextmanager
def leaving(model, other):
    """A call of a model, which leaves because the load of another one waits for its memory."""
    with ThreadPoolExecutor(1) as pool:
        with calling(model):
            loading = pool.submit(other.load)
            eventually(lambda: model.is_leaving)
            yield
        loading.result(PATIENCE)


def test_a_call_within_a_call_does_not_wait_for_a_load_that_waits_for_memory():
    budget = Budget(1)
    (_, a), (graphs, b) = model(budget), model(budget)
    with leaving(a, b), calling(b):
        assert graphs.loads == 1
    assert not b.is_urgent


def test_a_call_within_a_call_uses_the_same_model_while_it_leaves():
    budget = Budget(1)
    (graphs, a), (_, b) = model(budget), model(budget)
    with leaving(a, b), calling(a):
        assert graphs.loads == 1
    assert graphs.unloads == 1


def test_an_unload_during_a_load_that_fails_is_not_kept_for_the_next_one():
    graphs, loaded = model()
    graphs.ready.clear()
    graphs.errors.append(ValueError("on purpose"))
    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(loaded.load)
        eventually(lambda: loaded.state == "loading")
        loaded.unload_when_idle()
        graphs.ready.set()
        with pytest.raises(ValueError, match="on purpose"):
            failing.result(PATIENCE)
    with calling(loaded):
        pass
    assert graphs.is_loaded


def test_random_calls_stay_within_the_limit_and_are_all_answered():
    budget = Budget(3)
    models = [model(budget) for _ in range(6)]
    peak, answered = [0], []

    def work(seed):
        chosen = random.Random(seed)
        for _ in range(150):
            graphs, loaded = chosen.choice(models)
            with calling(loaded):
                assert graphs.is_loaded
                with life.LIFE.changed:
                    peak[0] = max(peak[0], sum(each.is_loaded for each, _ in models))
                time.sleep(chosen.random() / 1000)
                assert graphs.is_loaded
            answered.append(seed)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result(120)
    assert len(answered) == 8 * 150 and peak[0] == 3
    assert all(graphs.loads > 1 for graphs, _ in models)
