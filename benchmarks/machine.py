"""The interface of the harness to the machine, and its implementation; tests of the harness use a fake machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .contenders import Contender, RustProcess
from .environment import child_environment
from .processes import (
    Launched,
    PythonRunner,
    Runner,
    RustBench,
    RustPipe,
    bench_command,
    launch,
    text_command,
    worker_command,
)
from .tasks import task_module

if TYPE_CHECKING:
    import psutil

_IDLE_SHARE = 0.02
_IDLE_SAMPLE_SECONDS = 0.1
_IDLE_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Quiet:
    """The state of the machine between measurements.

    `idle` is true if the contenders did not use the CPU, and `machine_load` is the share of all CPUs that all programs
    used at that time.
    """

    idle: bool
    machine_load: float


class Machine(Protocol):
    """Starts contenders and watches the CPUs."""

    def start(self, contender: Contender) -> Runner:
        """Start a contender and wait until it has loaded its model.

        :raises Unavailable: if the contender cannot run here.
        :raises Failed: if its process ends.
        """

    def fresh(self, contender: Contender, file: Path, *, large: bool) -> Launched:
        """Measure a new process that loads a contender and answers the texts of a file.

        :param large: true if all texts are one call, to measure the peak memory; false to measure the first answer.
        :raises Failed: if the process fails.
        """

    def wait_until_idle(self, pids: Sequence[int]) -> Quiet:
        """Wait until these processes do not use the CPU."""


class RealMachine:
    """The machine on which this program runs."""

    def __init__(self, scratch: Path) -> None:
        """Set the folder for logs and answers."""
        self._scratch = scratch

    def start(self, contender: Contender) -> Runner:
        """Start a contender and wait until it has loaded its model; see `Machine`."""
        process, scratch = contender.process, Path(tempfile.mkdtemp(dir=self._scratch))
        if not isinstance(process, RustProcess):
            return PythonRunner(contender, process, scratch)
        if process.keep_open:
            return RustPipe(contender, process, scratch, task_module(contender.job.task).count_outputs)
        return RustBench(contender, process)

    def fresh(self, contender: Contender, file: Path, *, large: bool) -> Launched:
        """Measure a new process that loads a contender and answers the texts of a file; see `Machine`."""
        process, job = contender.process, contender.job
        if not isinstance(process, RustProcess):
            command = worker_command(process, "once", job, file)
        else:
            command = bench_command(process, job, file, None, 1) if large else text_command(process, job)
        return launch(command, file, child_environment(job.threads))

    def wait_until_idle(self, pids: Sequence[int]) -> Quiet:
        """Wait until these processes do not use the CPU, or until a timeout; see `Machine`.

        Thread pools can spin for a while after a run.
        """
        import psutil  # part of an extra, which tests with a fake machine do not need

        processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        deadline = time.monotonic() + _IDLE_TIMEOUT_SECONDS
        while True:
            before = _cpu_seconds(processes)
            psutil.cpu_percent()
            time.sleep(_IDLE_SAMPLE_SECONDS)
            load = psutil.cpu_percent() / 100
            idle = (_cpu_seconds(processes) - before) / _IDLE_SAMPLE_SECONDS <= _IDLE_SHARE
            if idle or time.monotonic() > deadline:
                return Quiet(idle, load)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(float(entry.user + entry.system) for entry in times)
