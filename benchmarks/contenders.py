"""Who is measured: a contender's name, what it loads and the process that runs it.

A worker imports this module at the start of a process whose start is timed, possibly under the interpreter of an
earlier release: only the standard library is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BRIDGE = "onnx-ml-bridge"


class Unavailable(Exception):
    """The contender cannot be measured here; the message says why and names no path."""


@dataclass(frozen=True)
class Job:
    """What a process loads.

    `loader` is a key of the task module's `LOADERS`; `source` is a folder, or the name of a model; `variant` is a
    variant of an artifact or a peer's element type; `options` are arguments of that loader alone.
    """

    task: str
    loader: str
    source: str
    threads: int
    variant: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PythonProcess:
    """Runs `benchmarks.worker` under an interpreter."""

    interpreter: str = sys.executable


@dataclass(frozen=True)
class RustProcess:
    """Runs the crate's command.

    `command` reads texts from standard input as JSON lines. Throughput is what `bench` reports, or with `keep_open` the
    time that `command` needs for texts that go through its pipes.
    """

    binary: str
    command: str
    keep_open: bool = False


@dataclass(frozen=True)
class Contender:
    """A row of the tables.

    `label` is the name without the release; `release` is empty for this checkout, else the label of `--python` or
    `--rust`. `reference` is the name of the contender that the tables compare this one with. `disk_bytes` counts the
    files of the model, without libraries. `unavailable` says why it cannot be measured, if so.
    """

    label: str
    job: Job
    process: PythonProcess | RustProcess
    disk_bytes: int
    reference: str
    release: str = ""
    unavailable: str = ""

    @property
    def name(self) -> str:
        """The label, with the release in parentheses."""
        return f"{self.label} ({self.release})" if self.release else self.label


@dataclass(frozen=True)
class Releases:
    """Interpreters and binaries by their release; the empty label is this checkout."""

    pythons: Mapping[str, str] = field(default_factory=lambda: {"": sys.executable})
    binaries: Mapping[str, str] = field(default_factory=dict)


def label(what: str, language: str) -> str:
    """Return the label of a contender of this project, as in `onnx-ml-bridge int8, Rust`."""
    return f"{BRIDGE}{what and ' ' + what}, {language}"


def bridge_contenders(
    releases: Releases,
    job: Job,
    what: str,
    *,
    command: str,
    disk_bytes: int,
    reference: str,
    keep_open: bool = False,
) -> list[Contender]:
    """Contenders of this project for one artifact and variant: every release in Python, then every one in Rust."""
    processes: list[tuple[str, str, PythonProcess | RustProcess]] = [
        *(("Python", release, PythonProcess(path)) for release, path in releases.pythons.items()),
        *(("Rust", release, RustProcess(path, command, keep_open)) for release, path in releases.binaries.items()),
    ]
    return [
        Contender(label(what, language), job, process, disk_bytes, reference, release)
        for language, release, process in processes
    ]
