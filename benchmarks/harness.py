"""The harness. It measures each contender once per round, so that changes of the machine affect all contenders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from .assembly import assemble
from .contenders import Contender, Unavailable
from .environment import Failed
from .machine import Machine
from .processes import Runner
from .record import EVERYTHING, Record
from .results import WorkloadResults
from .workload import COLD_START, LOAD, PEAK_FIRST, PEAK_LARGE, Setting, Workload

Item = TypeVar("Item")


class Harness:
    """Measures workloads on a machine, and records how busy the machine is with other programs."""

    def __init__(self, machine: Machine, rounds: int, fresh_rounds: int, say: Callable[[str], None]) -> None:
        """Set the number of rounds that measure speed, and the number that measure starts and memory (`fresh_rounds`).

        `say` is called with progress messages.
        """
        self._machine, self._rounds, self._fresh_rounds, self._say = machine, rounds, fresh_rounds, say
        self._loads: list[float] = []
        self.busy_starts = 0

    @property
    def other_load(self) -> float:
        """The mean share of all CPUs that other programs used while the contenders were idle."""
        return sum(self._loads) / max(1, len(self._loads))

    def measure(self, workload: Workload) -> WorkloadResults:
        """Measure all contenders of a workload."""
        record, runners = Record(self._say), dict[str, Runner]()
        try:
            self._start(workload, runners, record)
            self._compare_answers(workload, runners, record)
            self._measure_speed(workload, runners, record)
        finally:
            for runner in runners.values():
                runner.close()
        self._measure_fresh(workload, runners, record)
        return assemble(workload, record)

    def _start(self, workload: Workload, runners: dict[str, Runner], record: Record) -> None:
        for contender in workload.contenders:
            self._say(f"loading {contender.name}")
            try:
                if contender.unavailable:
                    raise Unavailable(contender.unavailable)
                runners[contender.name] = self._machine.start(contender)
            except (Unavailable, Failed) as error:
                record.miss(contender.name, EVERYTHING, error)

    def _compare_answers(self, workload: Workload, runners: dict[str, Runner], record: Record) -> None:
        """Compare the answers of every contender with those of its reference."""
        if workload.quality is None or workload.quality_texts is None:
            return
        answers = {
            name: record.attempt(name, "quality", partial(runner.answers, workload.quality_texts))
            for name, runner in runners.items()
        }
        for contender in workload.contenders:
            actual, expected = answers.get(contender.name), answers.get(contender.reference)
            if actual is not None:
                for metric, value in workload.quality(actual, expected).items():
                    record.note(contender.name, metric, 0, value)

    def _measure_speed(self, workload: Workload, runners: dict[str, Runner], record: Record) -> None:
        pids = [pid for runner in runners.values() for pid in runner.pids()]
        for number in range(self._rounds + 1):
            for setting in workload.settings:
                self._say(f"{_round_name(number, self._rounds)}, {setting.metric.title}")
                for name in round_order(list(runners), number):
                    self._wait(pids)
                    self._time(name, runners[name], setting, number, record)
        for name, runner in runners.items():
            for number, seconds in enumerate(runner.load_s):
                record.note(name, LOAD.key, number, seconds)

    def _time(self, name: str, runner: Runner, setting: Setting, number: int, record: Record) -> None:
        timing = partial(runner.time, setting.files[number], setting.batch)
        if timed := record.attempt(name, setting.metric.key, timing):
            record.note_timed(name, setting, number, timed)

    def _measure_fresh(self, workload: Workload, runners: dict[str, Runner], record: Record) -> None:
        """Measure cold starts and peak memory, each in a new process; round 0 fills the page cache."""
        started = [contender for contender in workload.contenders if contender.name in runners]
        for number in range(self._fresh_rounds + 1):
            self._say(f"{_round_name(number, self._fresh_rounds)}, fresh processes")
            for contender in round_order(started, number):
                self._wait([])
                self._measure_first(contender, workload, number, record)
                if number > 0:
                    self._measure_large(contender, workload, number, record)

    def _measure_first(self, contender: Contender, workload: Workload, number: int, record: Record) -> None:
        fresh = partial(self._machine.fresh, contender, workload.first, large=False)
        launched = record.attempt(contender.name, COLD_START.key, fresh)
        if launched and number > 0:
            record.note(contender.name, COLD_START.key, number, launched.first_s)
            record.note(contender.name, PEAK_FIRST.key, number, launched.peak_bytes)

    def _measure_large(self, contender: Contender, workload: Workload, number: int, record: Record) -> None:
        if workload.large is None:
            return
        fresh = partial(self._machine.fresh, contender, workload.large, large=True)
        if launched := record.attempt(contender.name, PEAK_LARGE.key, fresh):
            record.note(contender.name, PEAK_LARGE.key, number, launched.peak_bytes)

    def _wait(self, pids: Sequence[int]) -> None:
        """Wait until the contenders are idle, and record the load by other programs."""
        quiet = self._machine.wait_until_idle(pids)
        self.busy_starts += not quiet.idle
        self._loads.append(quiet.machine_load)


def round_order(items: Sequence[Item], number: int) -> list[Item]:
    """Return the items in the order of a round.

    Every odd round begins one item later than the odd round before it; every even round reverses the round before it.
    Of any two items, such as two releases of one contender, each therefore comes first in half of the rounds.
    """
    if number == 0 or not items:
        return list(items)
    start = (number - 1) // 2 % len(items)
    order = [*items[start:], *items[:start]]
    return order if number % 2 else order[::-1]


def _round_name(number: int, rounds: int) -> str:
    return f"round {number} of {rounds}" if number else "warm-up"
