"""The harness of the benchmarks, with fake contenders: rounds, pairs, targets, tables and documents."""

from itertools import combinations, pairwise

import pytest

from benchmarks import formats, markdown
from benchmarks.contenders import Contender, Job, PythonProcess, Releases, RustProcess, Unavailable, bridge_contenders
from benchmarks.environment import Failed
from benchmarks.harness import Harness, round_order
from benchmarks.machine import Quiet
from benchmarks.pairs import paired_ratios
from benchmarks.processes import Launched, Timed, bench_command, text_command, worker_command
from benchmarks.results import Conditions, Figure, Results, load, save
from benchmarks.tables import tables
from benchmarks.targets import MET, MISSED, NO_TARGET, UNKNOWN, Ratio, evaluate
from benchmarks.tasks import TASKS, task_module
from benchmarks.workload import COLD_START, DISK, LOAD, PEAK_FIRST, PEAK_LARGE, Metric, Setting, Workload

RATE = Metric("rate", "texts/s", "rate", higher_is_better=True, plotted=True)
CPU = Metric("cpu", "texts/CPU second", "rate", higher_is_better=True)
COUNT = Metric("entities", "entities", "count")
METRICS = (RATE, CPU, COUNT, LOAD, COLD_START, PEAK_FIRST, PEAK_LARGE, DISK)
JOB = Job("ner", "fake", "folder", 1)


class FakeRunner:
    def __init__(self, seconds, calls, name):
        self.load_s, self._seconds, self._calls, self._name = [0.5], list(seconds), calls, name
        self.closed = False

    def time(self, file, batch):
        self._calls.append((self._name, file.name, batch))
        seconds = self._seconds.pop(0)
        if seconds is None:
            raise Failed("the process ended with exit status 1", "a detail")
        return Timed(seconds, 2 * seconds, 3)

    def answers(self, file):
        return [{"answer": self._name}]

    def pids(self):
        return [1]

    def close(self):
        self.closed = True


class FakeMachine:
    """A machine without processes. `seconds` has, by contender, the duration of the warm-up and of every round."""

    def __init__(self, seconds, first_s=0.25):
        self._seconds, self._first_s = seconds, first_s
        self.calls, self.fresh_calls, self.runners = [], [], []

    def start(self, contender):
        if contender.name not in self._seconds:
            raise Unavailable("no such library")
        self.runners.append(FakeRunner(self._seconds[contender.name], self.calls, contender.name))
        return self.runners[-1]

    def fresh(self, contender, file, *, large):
        self.fresh_calls.append((contender.name, file.name, large))
        return Launched(self._first_s, 2_000_000.0 if large else 1_000_000.0)

    def wait_until_idle(self, pids):
        return Quiet(True, 0.5)


def contender(name, release="", **values):
    return Contender(name, JOB, PythonProcess(), 10, "original", release, **values)


def workload(tmp_path, contenders, rounds, **values):
    files = tuple(tmp_path / f"{number}.jsonl" for number in range(rounds + 1))
    defaults = {
        "title": "a task",
        "original": "package:original",
        "artifacts": {"artifact 1.0.0": "0" * 64},
        "facts": {"texts": 4},
        "settings": (Setting(RATE, files, (4,) * (rounds + 1), 2, CPU),),
        "first": tmp_path / "first.jsonl",
        "large": tmp_path / "large.jsonl",
        "metrics": METRICS,
        "outputs": COUNT,
    }
    return Workload(contenders=tuple(contenders), **(defaults | values))


def measure(machine, plan, rounds, fresh_rounds=1):
    harness = Harness(machine, rounds, fresh_rounds, lambda line: None)
    return harness, harness.measure(plan)


def results_of(measured):
    conditions = Conditions("2026-01-02", "a CPU", ("avx2",), False, 2, {"Python": "3"}, 3, 1, 0.5, 0)
    return Results("ner", "Named entities", conditions, (measured,))


@pytest.fixture
def two_releases(tmp_path):
    seconds = {"original": [9.0, 4.0, 4.0, 4.0], "new": [9.0, 1.0, 2.0, 4.0], "new (OLD)": [9.0, 2.0, 1.0, 4.4]}
    contenders = [contender("original"), contender("new"), contender("new", "OLD")]
    plan = workload(tmp_path, contenders, 3, ratios=(Ratio("new / original", "rate", "new", "original", 2.0),))
    return measure(FakeMachine(seconds), plan, 3)[1]


def test_the_order_of_contenders_is_balanced_over_the_rounds():
    names = ["a", "b", "c", "d"]
    orders = [round_order(names, number) for number in range(9)]
    assert orders[0] == names
    assert all(sorted(order) == names for order in orders)
    assert {order[0] for order in orders[1:]} == set(names)
    assert all(before[0] != after[0] for before, after in pairwise(orders[1:]))
    for a, b in combinations(names, 2):
        assert sum(order.index(a) < order.index(b) for order in orders[1:]) == 4
    assert round_order([], 1) == []


def test_each_round_has_its_own_texts_and_the_warm_up_is_not_timed(tmp_path):
    machine = FakeMachine({"a": [100.0, 1.0, 2.0], "b": [100.0, 1.0, 4.0]})
    harness, measured = measure(machine, workload(tmp_path, [contender("a"), contender("b")], 2), 2)
    assert machine.calls[:2] == [("a", "0.jsonl", 2), ("b", "0.jsonl", 2)]
    assert {call[1] for call in machine.calls[2:4]} == {"1.jsonl"}
    row = measured.row("b")
    assert row.figures["rate"].values == (4.0, 1.0)
    assert row.figures["cpu"].values == (2.0, 0.5)
    assert row.figures["entities"].median == 9
    assert row.figures["load"].median == 0.5
    assert harness.other_load == 0.5
    assert all(runner.closed for runner in machine.runners)


def test_the_first_round_of_fresh_processes_is_a_warm_up(tmp_path):
    machine = FakeMachine({"a": [1.0, 1.0]})
    _, measured = measure(machine, workload(tmp_path, [contender("a")], 1), 1, fresh_rounds=2)
    assert [large for _, _, large in machine.fresh_calls] == [False, False, True, False, True]
    figures = measured.row("a").figures
    assert figures["cold_start"].values == (0.25, 0.25)
    assert (figures["peak_first"].median, figures["peak_large"].median) == (1e6, 2e6)


def test_a_contender_that_fails_is_not_run_again_and_the_reason_is_recorded(tmp_path):
    machine = FakeMachine({"a": [1.0, None], "b": [1.0, 1.0, 1.0]})
    contenders = [contender("a"), contender("b"), contender("c"), contender("d", unavailable="no model")]
    _, measured = measure(machine, workload(tmp_path, contenders, 2), 2)
    assert measured.row("a").missing == {"rate": "the process ended with exit status 1"}
    assert measured.row("c").missing == {"everything": "no such library"}
    assert measured.row("d").missing == {"everything": "no model"}
    assert [call[0] for call in machine.calls].count("a") == 2


def test_answers_are_compared_with_those_of_the_reference(tmp_path):
    plan = workload(
        tmp_path,
        [contender("original"), contender("a")],
        1,
        metrics=(*METRICS, Metric("same", "same", "count")),
        quality=lambda actual, expected: {"same": float(actual == expected)},
        quality_texts=tmp_path / "first.jsonl",
    )
    _, measured = measure(FakeMachine({"original": [1.0, 1.0], "a": [1.0, 1.0]}), plan, 1)
    assert [measured.row(name).figures["same"].median for name in ("original", "a")] == [1.0, 0.0]


def test_contenders_need_different_names(tmp_path):
    with pytest.raises(ValueError, match="several contenders are named a"):
        workload(tmp_path, [contender("a"), contender("a")], 1)


def test_releases_are_compared_round_by_round(two_releases):
    [pair] = two_releases.pairs
    assert (pair.label, pair.release) == ("new", "OLD")
    assert pair.ratios["rate"].values == pytest.approx((2.0, 0.5, 1.1))
    assert pair.ratios["rate"].median == pytest.approx(1.1)
    assert pair.verdicts["rate"] == pair.verdicts["cpu"] == MET
    assert pair.verdicts["cold_start"] == NO_TARGET
    assert "entities" not in pair.ratios


def test_pairs_use_common_rounds_and_invert_metrics_where_less_is_better():
    assert paired_ratios(RATE, {1: 2.0, 2: 3.0}, {2: 2.0, 3: 1.0}) == (1.5,)
    assert paired_ratios(COLD_START, {1: 2.0}, {1: 1.0}) == (0.5,)
    assert paired_ratios(RATE, {1: 2.0}, {}) == ()


@pytest.mark.parametrize(
    ("minimum", "strict", "verdict"),
    [(2.0, False, MET), (2.0, True, MISSED), (2.1, False, MISSED), (None, False, NO_TARGET)],
)
def test_targets_are_ratios_of_medians(minimum, strict, verdict):
    target = evaluate(Ratio("r", "rate", "a", "b", minimum, strict), {"a": {"rate": 4.0}, "b": {"rate": 2.0}})
    assert (target.value, target.verdict) == (2.0, verdict)


def test_a_target_is_not_evaluated_if_a_contender_is_missing():
    target = evaluate(Ratio("r", "rate", "a", "b", 1.0), {"a": {"rate": 4.0}})
    assert (target.value, target.verdict) == (None, UNKNOWN)


def test_results_are_unchanged_after_writing_and_reading_them(two_releases, tmp_path):
    results = results_of(two_releases)
    save(results, tmp_path / "ner.json")
    assert load(tmp_path / "ner.json") == results


def test_figures_have_medians_and_ranges():
    figure = Figure((3.0, 1.0, 2.0, 10.0))
    assert (figure.median, figure.low, figure.high) == (2.5, 1.0, 10.0)


def test_tables_show_medians_and_factors(two_releases):
    speed, footprint, targets, pairs = tables(two_releases)
    assert speed.columns == ("texts/s", "texts/CPU second", "entities")
    cells = dict(speed.rows)
    assert (cells["original"][0].value, cells["original"][0].remark) == ("1.0", "")
    assert (cells["new"][0].value, cells["new"][0].range, cells["new"][0].remark) == ("2.0", "1.0 – 4.0", "2.0x")
    assert footprint.columns[-1] == DISK.title
    assert targets.rows[0][1][-1].remark == MET
    assert pairs.rows[0][0] == "new / OLD"
    assert pairs.rows[0][1][0].value == "1.100"


def test_a_run_without_the_reference_has_no_factors(tmp_path):
    _, measured = measure(FakeMachine({"new": [1.0, 1.0]}), workload(tmp_path, [contender("new")], 1), 1)
    speed, _ = tables(measured)
    assert speed.rows[0][1][0].remark == ""


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [(RATE, 46.0, "4.6x"), (RATE, 9.0, "0.90x"), (COLD_START, 0.5, "1/20"), (COUNT, 3.0, "")],
)
def test_factors(metric, value, expected):
    assert formats.factor(metric, value, 10.0) == expected


def test_durations_are_compared_as_speed_ratios():
    seconds = Metric("seconds", "1 text", "seconds", higher_is_better=False)
    assert formats.factor(seconds, 5.0, 30.0) == "6.0x"


def test_tables_are_written_between_the_markers_of_their_task(two_releases, tmp_path):
    document, (begin, end) = tmp_path / "benchmarks.md", markdown.markers("ner")
    document.write_text(f"Before.\n\n{begin}\nold\n{end}\n\nAfter.\n", encoding="utf-8")
    for _ in range(2):  # twice, because a second run must find its markers again
        markdown.update(document, results_of(two_releases))
        text = document.read_text(encoding="utf-8")
        assert text.startswith(f"Before.\n\n{begin}\n")
        assert text.endswith(f"\n{end}\n\nAfter.\n")
        assert "old" not in text.lower().replace("(old)", "").replace("/ old", "").replace("cold", "")
        assert "| new | 2.0 (2.0x) |" in text
    document.write_text("no markers", encoding="utf-8")
    with pytest.raises(markdown.NoMarkers):
        markdown.update(document, results_of(two_releases))


def test_every_release_of_both_languages_becomes_a_contender():
    releases = Releases({"": "/new/python", "OLD": "/old/python"}, {"": "/new/binary", "OLD": "/old/binary"})
    found = bridge_contenders(releases, JOB, "fp32", command="ner", disk_bytes=1, reference="original")
    assert [each.name for each in found] == [
        "onnx-ml-bridge fp32, Python",
        "onnx-ml-bridge fp32, Python (OLD)",
        "onnx-ml-bridge fp32, Rust",
        "onnx-ml-bridge fp32, Rust (OLD)",
    ]
    assert worker_command(found[1].process, "serve", JOB)[:3] == ["/old/python", "-m", "benchmarks.worker"]


def test_commands_of_the_crate(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('"a"\n"b"\n', encoding="utf-8")
    process = RustProcess("binary", "ner")
    model = ["--model", "folder", "--variant", "fp32", "--threads", "1"]
    assert text_command(process, JOB) == ["binary", "ner", *model]
    batch = ["--texts", str(file), "--batch", "2", "--rounds", "1"]
    assert bench_command(process, JOB, file, None, 1) == ["binary", "bench", *model, *batch]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_provides_what_the_harness_uses(name):
    task = task_module(name)
    assert all(
        map(callable, (task.prepare, task.add_options, task.to_json, task.count_outputs, *task.LOADERS.values()))
    )
    assert task.TITLE and task.EXTRAS and task.LIBRARIES
