"""The measurements themselves: interleaved rounds, every contender once in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

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
    worker_command,
)
from .results import BATCHES, BULK, COLD, PEAK_BULK, PEAK_FIRST, Row
from .rounds import EVERYTHING, WARM_UP, Rounds


@dataclass(kw_only=True)
class Bench(Rounds):
    """A run in progress: who is in it, and what was found so far."""

    contenders: list[Contender]
    inputs: Inputs
    texts: int
    rust: RustBinaries | None
    cosines: dict[str, NDArray[np.float64]] = field(default_factory=dict)

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
                self.miss(contender.name, EVERYTHING, error)

    def _runner(self, contender: Contender) -> Runner:
        if contender.job.kind != "rust":
            return Worker(contender, self.inputs)
        if self.rust is None:
            raise Unavailable("no Rust binary was given (--rust)")
        return RustRunner(contender, self.inputs, self.rust)

    def _cosines(self, runners: dict[str, Runner]) -> None:
        """Compare every contender's vectors with the original's."""
        found = {name: self.attempt(name, "cosine", runner.vectors) for name, runner in runners.items()}
        original = found.get(ORIGINAL)
        for name, vectors in found.items():
            if original is not None and vectors is not None:
                self.cosines[name] = _cosine(vectors, original)

    def _throughput(self, runners: dict[str, Runner]) -> None:
        settings = BATCHES | {BULK: self.texts}
        processes = [process for runner in runners.values() for process in runner.processes()]
        for label, order in self.orders(list(runners)):
            for setting, batch in settings.items():
                self.console.print(f"[dim]{label}, texts per call: {batch}[/]")
                for name in order:
                    self.watch(processes)
                    seconds = self.attempt(name, setting, partial(runners[name].seconds, batch))
                    if seconds is not None and label != WARM_UP:
                        self.note(name, setting, self.texts / seconds)

    def _fresh_processes(self, names: set[str]) -> None:
        """Cold starts and peaks of memory, each in a process of its own."""
        present = {contender.name: contender for contender in self.contenders if contender.name in names}
        for label, order in self.orders(list(present)):
            self.console.print(f"[dim]{label}, fresh processes[/]")
            for name in order:
                self.watch([])
                first = self.attempt(name, COLD, partial(self._launch, present[name], "first"))
                if label == WARM_UP:
                    continue
                bulk = self.attempt(name, PEAK_BULK, partial(self._launch, present[name], "bulk"))
                if first:
                    self.note(name, COLD, first.first_s)
                    self.note(name, PEAK_FIRST, first.peak_bytes)
                if bulk:
                    self.note(name, PEAK_BULK, bulk.peak_bytes)

    def _launch(self, contender: Contender, mode: str) -> Launched:
        texts = self.inputs.first_text if mode == "first" else self.inputs.all_texts
        if contender.job.kind == "rust" and self.rust:
            return launch(embed_command(self.rust, contender.job), texts)
        return launch(worker_command(mode, contender.job, self.inputs), texts)

    def _row(self, contender: Contender) -> Row:
        name = contender.name
        cosines = self.cosines.get(name)
        low, mean = (None, None) if cosines is None else (float(cosines.min()), float(cosines.mean()))
        return Row(name, contender.disk_bytes, self.figures(name), self.missing.get(name, {}), low, mean)


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each pair of rows, in double precision."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: NDArray[np.float64] = (a * b).sum(axis=1) / norms
    return found
