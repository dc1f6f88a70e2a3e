"""The measurements of named entities: interleaved rounds, every contender of a group once in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .children import Failed
from .contenders import Unavailable
from .ner_contenders import NerContender
from .ner_processes import NerCommand, NerInputs, NerRunner, NerWorker, environment, python_command, rust_command
from .ner_results import NerRow
from .processes import Launched, launch
from .results import COLD, PEAK_FIRST, PEAK_LONG, WORDS, WORDS_CPU
from .rounds import EVERYTHING, WARM_UP, Rounds


@dataclass(kw_only=True)
class NerBench(Rounds):
    """A run in progress. Groups follow each other: they have other texts, and their models need not meet in memory."""

    contenders: list[NerContender]
    inputs: dict[str, NerInputs]
    rust: Path | None
    scratch: Path
    entities: dict[str, int] = field(default_factory=dict)

    def run(self) -> tuple[NerRow, ...]:
        """Measure everything."""
        for group in self.inputs:
            present = {contender.name: contender for contender in self.contenders if contender.group == group}
            runners = dict(self._start(present))
            try:
                self._throughput(runners, self.inputs[group].words)
            finally:
                for runner in runners.values():
                    runner.close()
            self._fresh_processes({name: present[name] for name in runners})
        return tuple(self._row(contender) for contender in self.contenders)

    def _start(self, contenders: dict[str, NerContender]) -> Iterator[tuple[str, NerRunner]]:
        for name, contender in contenders.items():
            self.console.print(f"[dim]loading {name}[/]")
            try:
                yield name, self._runner(contender)
            except (Unavailable, Failed) as error:
                self.miss(name, EVERYTHING, error)

    def _runner(self, contender: NerContender) -> NerRunner:
        inputs = self.inputs[contender.group]
        log = self.scratch / f"{self.contenders.index(contender)}.log"
        if contender.job.kind != "rust":
            return NerWorker(contender, inputs, log)
        if self.rust is None:
            raise Unavailable("no Rust binary was given (--rust)")
        return NerCommand(self.rust, contender, inputs, log)

    def _throughput(self, runners: dict[str, NerRunner], words: tuple[int, ...]) -> None:
        processes = [process for runner in runners.values() for process in runner.processes()]
        for part, (label, order) in enumerate(self.orders(list(runners))):
            self.console.print(f"[dim]{label}, {words[part]:,} words[/]")
            for name in order:
                self.watch(processes)
                timed = self.attempt(name, WORDS, partial(runners[name].time, part))
                if timed is None:
                    continue
                self.entities[name] = self.entities.get(name, 0) + timed.entities
                if label != WARM_UP:
                    self.note(name, WORDS, words[part] / timed.seconds)
                    if timed.cpu_seconds:  # the kernel's clock may not have moved in a trial with few texts
                        self.note(name, WORDS_CPU, words[part] / timed.cpu_seconds)

    def _fresh_processes(self, contenders: dict[str, NerContender]) -> None:
        """Cold starts and peaks of memory, each in a process of its own."""
        for label, order in self.orders(list(contenders)):
            self.console.print(f"[dim]{label}, fresh processes[/]")
            for name in order:
                inputs = self.inputs[contenders[name].group]
                self.watch([])
                first = self.attempt(name, COLD, partial(self._launch, contenders[name], inputs.first_text))
                if label == WARM_UP:
                    continue
                if first:
                    self.note(name, COLD, first.first_s)
                    self.note(name, PEAK_FIRST, first.peak_bytes)
                if inputs.long_text:
                    long = self.attempt(name, PEAK_LONG, partial(self._launch, contenders[name], inputs.long_text))
                    if long:
                        self.note(name, PEAK_LONG, long.peak_bytes)

    def _launch(self, contender: NerContender, texts: Path) -> Launched:
        job = contender.job
        rust = job.kind == "rust" and self.rust
        command = rust_command(rust, job) if rust else python_command("once", job, texts)
        return launch(command, texts, environment(job))

    def _row(self, contender: NerContender) -> NerRow:
        name = contender.name
        return NerRow(
            name,
            contender.group,
            contender.disk_bytes,
            self.entities.get(name),
            self.figures(name),
            self.missing.get(name, {}),
        )
