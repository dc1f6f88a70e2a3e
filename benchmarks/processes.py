"""The processes that are measured, one contender each, as the conductor sees them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from .children import Failed, child_environment
from .contenders import Contender, Job, Unavailable

_ROOT = Path(__file__).parent.parent
_LAUNCH = Path(__file__).with_name("launch.py")
_IDLE_SHARE = 0.02
_IDLE_SAMPLE_SECONDS = 0.1
_IDLE_TIMEOUT_SECONDS = 10.0


class Runner(Protocol):
    """A contender that is ready to be timed."""

    def seconds(self, batch: int) -> float:
        """Seconds for all texts in batches of that size, the model being loaded and warm."""

    def vectors(self) -> NDArray[np.float32]:
        """The vectors of all texts, computed in one call."""

    def processes(self) -> list[psutil.Process]:
        """What lives on between measurements."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Inputs:
    """Files of the texts as JSON lines: all of them, and the first one alone; and a folder for what workers write."""

    all_texts: Path
    first_text: Path
    scratch: Path


@dataclass(frozen=True)
class RustBinaries:
    """The command that embeds, and the one whose first argument is `bench`; often the same file."""

    embed: Path
    bench: Path


@dataclass(frozen=True)
class Launched:
    """Seconds from the start of a process to its first line, and its peak of resident memory in bytes."""

    first_s: float
    peak_bytes: float


@dataclass(frozen=True)
class Quiet:
    """Whether the watched processes were idle, and the share of all CPUs in use by whatever program meanwhile."""

    idle: bool
    machine_load: float


class JsonProcess:
    """A long-lived process that answers one JSON object a line."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        """Start it; what it writes to standard error goes to `log`."""
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

    def processes(self) -> list[psutil.Process]:
        """See `Runner`."""
        return [psutil.Process(self._child.pid)]

    def close(self) -> None:
        """See `Runner`."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have ended before
            self._child.stdin.close()
        self._child.wait()

    def ask(self, command: dict[str, object]) -> dict[str, Any]:
        """Send a command and wait for its answer.

        :raises Failed: when the process has ended.
        """
        self.send(json.dumps(command) + "\n")
        return self.answer()

    def send(self, lines: str) -> None:
        """Write lines; a process that has ended is noticed when there is no answer."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(lines)
            self._child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for one line, and read it.

        :raises Failed: when the process has ended.
        """
        found: dict[str, Any] = json.loads(self.line())
        return found

    def line(self) -> str:
        """Wait for one line.

        :raises Failed: when the process has ended.
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            status = self._child.wait()
            raise Failed(f"the worker ended with exit status {status}", self._log.read_text(errors="replace")[-2000:])
        return line


class Worker(JsonProcess):
    """A contender in a long-lived Python process of its own, driven by JSON lines."""

    def __init__(self, contender: Contender, inputs: Inputs) -> None:
        """Start it and wait until it has loaded.

        :raises Unavailable: when it says so itself.
        :raises Failed: when it ends.
        """
        name = f"{contender.job.kind}-{contender.job.precision}"
        self._vectors = inputs.scratch / f"{name}.npy"
        command = worker_command("serve", contender.job, inputs)
        super().__init__(command, child_environment(), inputs.scratch / f"{name}.log")
        if "unavailable" in (answer := self.answer()):
            self.close()
            raise Unavailable(answer["unavailable"])

    def seconds(self, batch: int) -> float:
        """See `Runner`."""
        return float(self.ask({"do": "time", "batch": batch})["seconds"])

    def vectors(self) -> NDArray[np.float32]:
        """See `Runner`."""
        self.ask({"do": "vectors", "file": str(self._vectors)})
        loaded: NDArray[np.float32] = np.load(self._vectors)
        return loaded


class RustRunner:
    """A variant run by the Rust crate; `bench` times it inside a process of its own at every call."""

    def __init__(self, contender: Contender, inputs: Inputs, binaries: RustBinaries) -> None:
        """Remember what to run; nothing is started yet."""
        self._job = contender.job
        self._inputs = inputs
        self._binaries = binaries

    def seconds(self, batch: int) -> float:
        """See `Runner`. Of the two rounds that `bench` makes, the first is its warm-up."""
        command = [
            str(self._binaries.bench),
            "bench",
            "--model",
            self._job.folder,
            "--variant",
            self._job.precision,
            "--texts",
            str(self._inputs.all_texts),
            "--batch",
            str(batch),
            "--rounds",
            "2",
        ]
        try:
            return float(json.loads(_run(command, "bench"))["seconds"][-1])
        except (ValueError, KeyError, TypeError) as error:
            raise Failed("bench printed something else than agreed", str(error)) from error

    def vectors(self) -> NDArray[np.float32]:
        """See `Runner`."""
        lines = _run(embed_command(self._binaries, self._job), "embed", self._inputs.all_texts).splitlines()
        return np.array([json.loads(line)["embedding"] for line in lines], np.float32)

    def processes(self) -> list[psutil.Process]:
        """See `Runner`: nothing lives on."""
        return []

    def close(self) -> None:
        """See `Runner`."""


def launch(command: list[str], stdin: Path, environment: dict[str, str] | None = None) -> Launched:
    """Run a command to its end in a fresh process and measure it; see launch.py.

    :raises Failed: when its exit status is not 0.
    """
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(stdin), *command]
    environment = environment or child_environment()
    done = subprocess.run(launcher, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    if done.returncode != 0:
        raise Failed(f"the command could not be started (exit status {done.returncode})", done.stderr[-2000:])
    figures = json.loads(done.stdout)
    if figures["status"] != 0:
        raise Failed(f"the process ended with exit status {figures['status']}", done.stderr[-2000:])
    return Launched(figures["first_s"], figures["peak_bytes"])


def worker_command(mode: str, job: Job, inputs: Inputs) -> list[str]:
    """The command of a Python worker; see worker.py."""
    texts = inputs.first_text if mode == "first" else inputs.all_texts
    return [sys.executable, "-m", "benchmarks.worker", mode, json.dumps(dataclasses.asdict(job)), str(texts)]


def embed_command(binaries: RustBinaries, job: Job) -> list[str]:
    """The Rust command that embeds JSON lines from its standard input."""
    return [str(binaries.embed), "embed", "--model", job.folder, "--variant", job.precision]


def wait_until_idle(processes: list[psutil.Process]) -> Quiet:
    """Wait until these processes use no CPU, because thread pools spin for a while after a run."""
    deadline = time.monotonic() + _IDLE_TIMEOUT_SECONDS
    while True:
        before = _cpu_seconds(processes)
        psutil.cpu_percent()
        time.sleep(_IDLE_SAMPLE_SECONDS)
        load = psutil.cpu_percent() / 100
        idle = (_cpu_seconds(processes) - before) / _IDLE_SAMPLE_SECONDS <= _IDLE_SHARE
        if idle or time.monotonic() > deadline:
            return Quiet(idle, load)


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(float(entry.user + entry.system) for entry in times)


def _run(command: list[str], what: str, stdin: Path | None = None) -> str:
    source = stdin.read_text(encoding="utf-8") if stdin else ""
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, env=child_environment(), check=False
        )
    except OSError as error:
        raise Failed(f"{what} could not be started", str(error)) from error
    if done.returncode != 0:
        raise Failed(f"{what} ended with exit status {done.returncode}", done.stderr[-2000:])
    return done.stdout
