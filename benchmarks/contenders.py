"""The contenders of a benchmark: their names, the models that they load, and the processes that run them.

A contender is a library, or a variant of this project, that is measured. A worker, whose start is timed, imports this
module, possibly with the interpreter of an earlier release. Therefore only the standard library is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BRIDGE = "onnx-ml-bridge"


class Unavailable(Exception):
    """The contender cannot be measured here; the message has the reason and does not contain paths."""


@dataclass(frozen=True)
class Job:
    """The model that a process loads.

    `loader` is a key of the task module's `LOADERS`. `source` is a folder or the name of a model. `variant` is a
    variant of an artifact, or the element type that another library uses. `options` are further arguments of the
    loader.
    """

    task: str
    loader: str
    source: str
    threads: int
    variant: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PythonProcess:
    """A process that runs `benchmarks.worker` with a Python interpreter."""

    interpreter: str = sys.executable


@dataclass(frozen=True)
class RustProcess:
    """A process that runs the Rust command.

    `command` is the subcommand that reads texts from standard input as JSON lines. Speed is measured with the
    subcommand `bench`, or, if `keep_open` is true, by writing texts to a running `command` and reading its answers.
    """

    binary: str
    command: str
    keep_open: bool = False


@dataclass(frozen=True)
class Contender:
    """A row of the tables.

    `label` is the name without the release. `release` is empty for this checkout, else the label of the option
    `--python` or `--rust`. `reference` is the name of the contender that the tables compare this one with. `disk_bytes`
    is the size of the model's files, without libraries. `unavailable` is the reason why the contender cannot be
    measured; empty if it can.
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
        """The label, followed by the release in parentheses if there is one."""
        return f"{self.label} ({self.release})" if self.release else self.label


@dataclass(frozen=True)
class Releases:
    """Python interpreters and Rust binaries by the label of their release; the empty label is this checkout."""

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
    """Return the contenders of this project for one variant: every release in Python, then every release in Rust."""
    processes: list[tuple[str, str, PythonProcess | RustProcess]] = [
        *(("Python", release, PythonProcess(path)) for release, path in releases.pythons.items()),
        *(("Rust", release, RustProcess(path, command, keep_open)) for release, path in releases.binaries.items()),
    ]
    return [
        Contender(label(what, language), job, process, disk_bytes, reference, release)
        for language, release, process in processes
    ]
