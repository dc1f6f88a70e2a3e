"""The conditions of a run: the machine and its software, which are recorded with the figures."""

from __future__ import annotations

import datetime
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata

from onnx_ml_bridge.runtime import cpu

from .contenders import BRIDGE, Releases
from .harness import Harness
from .results import Conditions

_ASK_VERSION = f"from importlib import metadata; print(metadata.version({BRIDGE!r}))"


def describe(harness: Harness, rounds: tuple[int, int], libraries: Sequence[str], releases: Releases) -> Conditions:
    """Return the conditions of a run.

    :param rounds: the number of rounds that measure speed, and the number of rounds that measure starts and memory.
    """
    machine = cpu.describe(cpu.usable_cpus())
    return Conditions(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        cpu=machine.cpu,
        instruction_set=machine.instruction_set,
        exact_int8=cpu.has_exact_int8(),
        cpus=machine.threads,
        versions=versions(libraries, releases),
        rounds=rounds[0],
        fresh_rounds=rounds[1],
        other_load=harness.other_load,
        busy_starts=harness.busy_starts,
    )


def hash_texts(texts: Iterable[str]) -> str:
    """Return the SHA-256 of the texts, separated by line feeds."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def versions(libraries: Sequence[str], releases: Releases) -> dict[str, str]:
    """Return the versions of Python, of the libraries that are installed, and of every release of this project."""
    return {
        "Python": platform.python_version(),
        **dict(_installed((*libraries, BRIDGE))),
        **{_name(label): _ask([path, "-c", _ASK_VERSION]) for label, path in releases.pythons.items() if label},
        **{_name("Rust", label): _ask([path, "--version"]) for label, path in releases.binaries.items()},
    }


def _installed(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _name(*labels: str) -> str:
    return f"{BRIDGE} ({', '.join(label for label in labels if label)})"


def _ask(command: list[str]) -> str:
    """Run a command and return the last word that it prints."""
    try:
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        words = []
    return words[-1] if words else "unknown"
