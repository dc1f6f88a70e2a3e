"""The measurements themselves: interleaved rounds, every contender once in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console

from .contenders import ORIGINAL, Contender, Unavailable
from .processes import (
    Failed,
    Inputs,
    Launched,
    Runner,
    RustBinaries,
    RustRunner,
    Worker,
    embed_command,
    launch,
    wait_until_idle,
    worker_command,
)
from .results import BATCHES, BULK, COLD, PEAK_BULK, PEAK_FIRST, Figure, Row

_EVERYTHING = "everything"
_WARM_UP = "warm-up"

Found = TypeVar("Found")


@dataclass
class Bench:
    """A run in progress: who is in it, and what was found so far."""

    contenders: list[Contender]
    inputs: Inputs
    texts: int
    rounds: int
    rust: RustBinaries | None
    console: Console
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    cosines: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    other_load: list[float] = field(default_factory=list)
    busy_workers: int = 0

    def run(self) -> tuple[Row, ...]:
        """Measure everything."""
        runners = dict(self._start())
        try:
            self._cosines(runners)
            self._throughput(runners)
        finally:
            for runner in runners.values():
                runner.close()
        self._fresh_processes(set(runners))
        return tuple(self._row(contender) for contender in self.contenders)

    def _start(self) -> Iterator[tuple[str, Runner]]:
        for contender in self.contenders:
            self.console.print(f"[dim]loading {contender.name}[/]")
            try:
                yield contender.name, self._runner(contender)
            except (Unavailable, Failed) as error:
                self._miss(contender.name, _EVERYTHING, error)

    def _runner(self, contender: Contender) -> Runner:
        if contender.job.kind != "rust":
            return Worker(contender, self.inputs)
        if self.rust is None:
            raise Unavailable("no Rust binary was given (--rust)")
        return RustRunner(contender, self.inputs, self.rust)

    def _cosines(self, runners: dict[str, Runner]) -> None:
        """Compare every contender's vectors with the original's."""
        found = {name: self._try(name, "cosine", runner.vectors) for name, runner in runners.items()}
        original = found.get(ORIGINAL)
        for name, vectors in found.items():
            if original is not None and vectors is not None:
                self.cosines[name] = _cosine(vectors, original)

    def _throughput(self, runners: dict[str, Runner]) -> None:
        settings = BATCHES | {BULK: self.texts}
        processes = [process for runner in runners.values() for process in runner.processes()]
        for label, order in self._orders(list(runners)):
            for setting, batch in settings.items():
                self.console.print(f"[dim]{label}, texts per call: {batch}[/]")
                for name in order:
                    self._watch(processes)
                    seconds = self._try(name, setting, partial(runners[name].seconds, batch))
                    if seconds is not None and label != _WARM_UP:
                        self._values(name, setting).append(self.texts / seconds)

    def _fresh_processes(self, names: set[str]) -> None:
        """Cold starts and peaks of memory, each in a process of its own."""
        present = {contender.name: contender for contender in self.contenders if contender.name in names}
        for label, order in self._orders(list(present)):
            self.console.print(f"[dim]{label}, fresh processes[/]")
            for name in order:
                self._watch([])
                first = self._try(name, COLD, partial(self._launch, present[name], "first"))
                if label == _WARM_UP:
                    continue
                bulk = self._try(name, PEAK_BULK, partial(self._launch, present[name], "bulk"))
                if first:
                    self._values(name, COLD).append(first.first_s)
                    self._values(name, PEAK_FIRST).append(first.peak_bytes)
                if bulk:
                    self._values(name, PEAK_BULK).append(bulk.peak_bytes)

    def _launch(self, contender: Contender, mode: str) -> Launched:
        texts = self.inputs.first_text if mode == "first" else self.inputs.all_texts
        if contender.job.kind == "rust" and self.rust:
            return launch(embed_command(self.rust, contender.job), texts)
        return launch(worker_command(mode, contender.job, self.inputs), texts)

    def _orders(self, names: list[str]) -> Iterator[tuple[str, list[str]]]:
        """The warm-up's order, then every round's; each begins with another contender."""
        yield _WARM_UP, names
        for number in range(self.rounds):
            start = number % max(1, len(names))
            yield f"round {number + 1} of {self.rounds}", names[start:] + names[:start]

    def _watch(self, processes: list[psutil.Process]) -> None:
        """Begin only when the contenders are idle, and notice what else runs on the machine."""
        found = wait_until_idle(processes)
        self.busy_workers += not found.idle
        self.other_load.append(found.machine_load)

    def _try(self, name: str, what: str, action: Callable[[], Found]) -> Found | None:
        """The action's result, or None and the reason noted; what failed once is not tried again."""
        if what in self.missing.get(name, {}):
            return None
        try:
            return action()
        except Failed as error:
            self._miss(name, what, error)
            return None

    def _miss(self, name: str, what: str, error: Unavailable | Failed) -> None:
        """Note the reason, and print it the first time that this contender gives it."""
        known = self.missing.setdefault(name, {})
        if str(error) not in known.values():
            self.console.print(f"[yellow]not measured:[/] {name}, {what}: {error}", highlight=False)
            if isinstance(error, Failed) and error.detail:
                self.console.print(error.detail.strip(), style="dim", markup=False, highlight=False)
        known[what] = str(error)

    def _values(self, name: str, figure: str) -> list[float]:
        return self.values.setdefault(name, {}).setdefault(figure, [])

    def _row(self, contender: Contender) -> Row:
        name = contender.name
        figures = {key: Figure(tuple(found)) for key, found in self.values.get(name, {}).items()}
        cosines = self.cosines.get(name)
        low, mean = (None, None) if cosines is None else (float(cosines.min()), float(cosines.mean()))
        return Row(name, contender.disk_bytes, figures, self.missing.get(name, {}), low, mean)


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each pair of rows, in double precision."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: NDArray[np.float64] = (a * b).sum(axis=1) / norms
    return found
