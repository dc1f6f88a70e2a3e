"""The processes that find entities, one contender each, as the conductor sees them."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from .children import Failed, child_environment
from .contenders import Unavailable
from .ner_contenders import NerContender, NerJob
from .processes import JsonProcess


@dataclass(frozen=True)
class NerInputs:
    """Files of one group's texts as JSON lines: all of them, the first one alone, and one long document or None.

    A round has texts of its own, every n-th one of all: what a contender remembers of the words it has seen helps it as
    much as it would with new texts. `words` counts what blanks separate, for the warm-up and for every round.
    """

    all_texts: Path
    first_text: Path
    long_text: Path | None
    words: tuple[int, ...]


@dataclass(frozen=True)
class Timed:
    """Seconds for the texts of a round, CPU seconds of all threads meanwhile, and the entities found."""

    seconds: float
    cpu_seconds: float
    entities: int


class NerRunner(Protocol):
    """A contender that is ready to be timed."""

    def time(self, part: int) -> Timed:
        """Find the entities of the texts of one round, 0 for the warm-up, the model being loaded."""

    def processes(self) -> list[psutil.Process]:
        """What lives on between measurements."""

    def close(self) -> None:
        """End it."""


class NerWorker(JsonProcess):
    """A contender in a long-lived Python process."""

    def __init__(self, contender: NerContender, inputs: NerInputs, log: Path) -> None:
        """Start it and wait until it has loaded.

        :raises Unavailable: when it says so itself.
        :raises Failed: when it ends.
        """
        super().__init__(python_command("serve", contender.job, inputs.all_texts), environment(contender.job), log)
        self._parts = len(inputs.words)
        if "unavailable" in (answer := self.answer()):
            self.close()
            raise Unavailable(answer["unavailable"])

    def time(self, part: int) -> Timed:
        """See `NerRunner`."""
        return Timed(**self.ask({"part": part, "parts": self._parts}))


class NerCommand(JsonProcess):
    """The crate's command `ner`, kept open: texts go in and entities come out as JSON lines, which are timed too."""

    def __init__(self, binary: Path, contender: NerContender, inputs: NerInputs, log: Path) -> None:
        """Start it and wait for the answer to one text, so that the model is loaded."""
        super().__init__(rust_command(binary, contender.job), environment(contender.job), log)
        self._lines = inputs.all_texts.read_text(encoding="utf-8").splitlines(keepends=True)
        self._parts = len(inputs.words)
        self.send('"."\n')
        self.answer()

    def time(self, part: int) -> Timed:
        """See `NerRunner`. CPU seconds are the kernel's, in steps of 10 ms."""
        [process] = self.processes()
        lines = self._lines[part :: self._parts]
        used, started = _cpu_seconds(process), time.perf_counter()
        writer = threading.Thread(target=self.send, args=("".join(lines),), daemon=True)
        writer.start()
        answers = [self.line() for _ in lines]
        seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds(process) - used
        writer.join()
        return Timed(seconds, cpu_seconds, sum(map(_entities, answers)))


def python_command(mode: str, job: NerJob, texts: Path) -> list[str]:
    """The command of a Python worker; see ner_worker.py."""
    return [sys.executable, "-m", "benchmarks.ner_worker", mode, json.dumps(dataclasses.asdict(job)), str(texts)]


def rust_command(binary: Path, job: NerJob) -> list[str]:
    """The Rust command that reads texts from its standard input."""
    return [str(binary), "ner", "--model", job.source, "--variant", job.variant, "--threads", str(job.threads)]


def environment(job: NerJob) -> dict[str, str]:
    """As many threads for OpenMP and BLAS as the contender is meant to have."""
    return child_environment(job.threads)


def _entities(line: str) -> int:
    answer = json.loads(line)
    if "error" in answer:
        raise Failed("ner refused a text", str(answer["error"]))
    return len(answer["entities"])


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
