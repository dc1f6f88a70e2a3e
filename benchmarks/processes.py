"""The measured processes. Each of them runs one contender."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .contenders import Contender, Job, PythonProcess, RustProcess, Unavailable
from .environment import Failed, child_environment

_ROOT = Path(__file__).parent.parent
_LAUNCH = Path(__file__).with_name("launch.py")
_DETAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class Timed:
    """The duration of a call with all texts of a file, the CPU seconds of all threads, and the number of outputs.

    CPU seconds and outputs, such as the number of entities, are None if the process does not report them.
    """

    seconds: float
    cpu_seconds: float | None = None
    outputs: int | None = None


@dataclass(frozen=True)
class Launched:
    """The seconds from the start of a process to its first line, and its peak resident memory in bytes."""

    first_s: float
    peak_bytes: float


class Runner(Protocol):
    """A contender that has loaded its model; `load_s` has the duration of every load that it reported."""

    load_s: list[float]

    def time(self, file: Path, batch: int | None) -> Timed:
        """Measure how long the loaded model needs for all texts of a file.

        :param batch: the number of texts in one call; None for all texts.
        :raises Failed: if the process ends or violates the protocol.
        """

    def answers(self, file: Path) -> list[dict[str, Any]]:
        """Return the answers to all texts of a file in the order of the texts.

        :raises Failed: as `time` does.
        """

    def pids(self) -> list[int]:
        """Return the ids of the processes that continue to exist between measurements."""

    def close(self) -> None:
        """End the processes."""


class JsonProcess:
    """A long-lived process that reads and writes lines."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        """Start the process; its standard error is written to `log`."""
        self._log = log
        with log.open("wb") as errors:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                cwd=_ROOT,
                env=environment,
            )

    def pids(self) -> list[int]:
        """Return the id of the process; see `Runner`."""
        return [self._child.pid]

    def close(self) -> None:
        """End the process; see `Runner`."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process may have ended before
            self._child.stdin.close()
        self._child.wait()

    def send(self, lines: str) -> None:
        """Write lines; if the process has ended, this does nothing, and the next `line` raises `Failed`."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(lines)
            self._child.stdin.flush()

    def line(self) -> str:
        """Wait for one line and return it.

        :raises Failed: if the process has ended.
        """
        assert self._child.stdout is not None
        if not (line := self._child.stdout.readline()):
            status = self._child.wait()
            detail = self._log.read_text(errors="replace")[-_DETAIL_CHARACTERS:]
            raise Failed(f"the process ended with exit status {status}", detail)
        return line


class PythonRunner(JsonProcess):
    """A Python worker in the mode `serve`; see worker.py."""

    def __init__(self, contender: Contender, process: PythonProcess, scratch: Path) -> None:
        """Start the worker and wait until it has loaded its model.

        :raises Unavailable: if the worker reports that the contender is not available.
        :raises Failed: if the worker ends.
        """
        command = worker_command(process, "serve", contender.job)
        self._saved = scratch / "answers.jsonl"
        super().__init__(command, child_environment(contender.job.threads), scratch / "worker.log")
        if "unavailable" in (answer := json.loads(self.line())):
            self.close()
            raise Unavailable(answer["unavailable"])
        self.load_s: list[float] = [answer["load_s"]]

    def time(self, file: Path, batch: int | None) -> Timed:
        """Measure how long the worker needs for all texts of a file; see `Runner`."""
        return Timed(**self._ask({"file": str(file), "batch": batch}))

    def answers(self, file: Path) -> list[dict[str, Any]]:
        """Return the worker's answers to all texts of a file; see `Runner`."""
        self._ask({"file": str(file), "save": str(self._saved)})
        return _json_lines(self._saved.read_text(encoding="utf-8"))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(json.dumps(request) + "\n")
        answer: dict[str, Any] = json.loads(self.line())
        return answer


class RustBench:
    """The Rust command `bench`, which is started for every measurement."""

    def __init__(self, contender: Contender, process: RustProcess) -> None:
        """Store the job; no process is started yet."""
        self._job, self._process = contender.job, process
        self.load_s: list[float] = []

    def time(self, file: Path, batch: int | None) -> Timed:
        """Measure the second of two rounds of `bench`, because the first one is its warm-up; see `Runner`."""
        try:
            report = json.loads(_run(bench_command(self._process, self._job, file, batch, 2), self._job))
            self.load_s.append(float(report["load_s"]))
            return Timed(float(report["seconds"][-1]))
        except (ValueError, KeyError, TypeError) as error:
            raise Failed("bench did not print the agreed JSON", str(error)) from error

    def answers(self, file: Path) -> list[dict[str, Any]]:
        """Return the command's answers to all texts of a file; see `Runner`."""
        return _json_lines(_run(text_command(self._process, self._job), self._job, file))

    def pids(self) -> list[int]:
        """Return an empty list, because no process exists between measurements; see `Runner`."""
        return []

    def close(self) -> None:
        """Do nothing, because no process exists between measurements; see `Runner`."""


class RustPipe(JsonProcess):
    """A Rust command that keeps running, reads texts from a pipe and writes answers to another one as JSON lines.

    The measured durations include the transfer through the pipes and the conversion from and to JSON.
    """

    def __init__(
        self,
        contender: Contender,
        process: RustProcess,
        scratch: Path,
        count_outputs: Callable[[dict[str, Any]], int],
    ) -> None:
        """Start the command and wait for the answer to one text, so that the model is loaded."""
        super().__init__(
            text_command(process, contender.job), child_environment(contender.job.threads), scratch / "command.log"
        )
        self._count_outputs = count_outputs
        self.load_s: list[float] = []
        self.send('"."\n')
        self.line()

    def time(self, file: Path, batch: int | None) -> Timed:
        """Measure how long the command needs for all texts of a file, in batches of its own choice; see `Runner`."""
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        used, started = _cpu_seconds(self._child.pid), time.perf_counter()
        answers = self._exchange(lines)
        seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds(self._child.pid) - used
        return Timed(seconds, cpu_seconds, sum(map(self._count_outputs, map(_answer, answers))))

    def answers(self, file: Path) -> list[dict[str, Any]]:
        """Return the command's answers to all texts of a file; see `Runner`."""
        return list(map(_answer, self._exchange(file.read_text(encoding="utf-8").splitlines(keepends=True))))

    def _exchange(self, lines: list[str]) -> list[str]:
        """Write all lines in a thread while reading the answers, because writing to a full pipe blocks."""
        writer = threading.Thread(target=self.send, args=("".join(lines),), daemon=True)
        writer.start()
        answers = [self.line() for _ in lines]
        writer.join()
        return answers


def launch(command: Sequence[str], stdin: Path, environment: dict[str, str]) -> Launched:
    """Run a command to its end in a new process and measure it; see launch.py.

    :raises Failed: if its exit status is not 0.
    """
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(stdin), *command]
    done = subprocess.run(launcher, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    if done.returncode != 0:
        detail = done.stderr[-_DETAIL_CHARACTERS:]
        raise Failed(f"the command could not be started (exit status {done.returncode})", detail)
    report = json.loads(done.stdout)
    if report["status"] != 0:
        detail = done.stderr[-_DETAIL_CHARACTERS:]
        raise Failed(f"the process ended with exit status {report['status']}", detail)
    return Launched(report["first_s"], report["peak_bytes"])


def worker_command(process: PythonProcess, mode: str, job: Job, *files: Path) -> list[str]:
    """Return the arguments of a Python worker; see worker.py."""
    start = [process.interpreter, "-m", "benchmarks.worker", mode, json.dumps(dataclasses.asdict(job))]
    return [*start, *map(str, files)]


def text_command(process: RustProcess, job: Job) -> list[str]:
    """Return the arguments of the Rust command that answers texts from standard input."""
    return [process.binary, process.command, *_model_arguments(job)]


def bench_command(process: RustProcess, job: Job, file: Path, batch: int | None, rounds: int) -> list[str]:
    """Return the arguments of the Rust command that measures the time for the texts of a file."""
    size = batch or len(file.read_text(encoding="utf-8").splitlines())
    arguments = ["--texts", str(file), "--batch", str(size), "--rounds", str(rounds)]
    return [process.binary, "bench", *_model_arguments(job), *arguments]


def _model_arguments(job: Job) -> list[str]:
    return ["--model", job.source, "--variant", job.variant, "--threads", str(job.threads)]


def _run(command: list[str], job: Job, stdin: Path | None = None) -> str:
    source = stdin.read_text(encoding="utf-8") if stdin else ""
    environment = child_environment(job.threads)
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, encoding="utf-8", env=environment, check=False
        )
    except OSError as error:
        raise Failed(f"{command[1]} could not be started", str(error)) from error
    if done.returncode != 0:
        raise Failed(f"{command[1]} ended with exit status {done.returncode}", done.stderr[-_DETAIL_CHARACTERS:])
    return done.stdout


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


def _answer(line: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise Failed("the command refused a text", str(answer["error"]))
    return answer


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process so far."""
    if sys.platform == "linux":  # the id of the process's CPU clock, computed like clock_getcpuclockid(3)
        return time.clock_gettime((~pid << 3) | 2)
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
