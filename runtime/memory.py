"""The memory of the process and of the system, read from /proc and from the files of cgroups, version 1 and 2.

Only Linux has these files; on other systems nothing is known.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .cgroup import ROOT, cgroups

# Memory is scarce below this share of what the process may use.
_SCARCE = 0.1
# cgroup version 1 states a number above this one if there is no limit.
_NO_LIMIT = 1 << 60
PROC = Path("/proc")


@dataclass(frozen=True)
class MemoryLimit:
    """A limit on memory and how much of it is free, in bytes."""

    limit: int
    free: int

    @property
    def is_scarce(self) -> bool:
        """Whether less than a tenth of the limit is free."""
        return self.free < _SCARCE * self.limit


@dataclass(frozen=True)
class _CgroupFiles:
    """The names of the files of a memory cgroup; `inactive` is the key of memory.stat for the file cache to free."""

    limit: str
    usage: str
    inactive: str


# By version
_CGROUP_FILES = {
    1: _CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: _CgroupFiles("memory.max", "memory.current", "inactive_file"),
}


def process_bytes() -> int | None:
    """Return the memory of this process that is in RAM, in bytes; None if the system does not state it."""
    try:
        return int((PROC / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def is_scarce(proc: Path = PROC, cgroup: Path = ROOT) -> bool:
    """Return whether less than a tenth of the memory that this process may use is free.

    :param proc: the folder that is /proc.
    :param cgroup: the folder at which the cgroups are mounted.
    """
    return any(limit.is_scarce for limit in memory_limits(proc, cgroup))


def memory_limits(proc: Path = PROC, cgroup: Path = ROOT) -> list[MemoryLimit]:
    """Return the limits that apply to this process: that of the machine, and those of its cgroups."""
    return [*_machine(proc), *_cgroup_limits(cgroup, proc / "self/cgroup")]


def return_free_memory() -> None:
    """Return the memory that the process has freed to the system, which the C library keeps otherwise."""
    _malloc_trim()(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int]:
    """Return `malloc_trim`, which only the GNU C library has, or a function that does nothing."""
    if os.name != "posix":
        return lambda pad: 0
    function: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return function or (lambda pad: 0)


def _machine(proc: Path) -> Iterator[MemoryLimit]:
    values = {
        key: int(rest.split()[0]) * 1024
        for key, _, rest in (line.partition(":") for line in _text(proc / "meminfo").splitlines())
        if key in ("MemTotal", "MemAvailable") and rest.split()
    }
    if len(values) == 2:
        yield MemoryLimit(values["MemTotal"], values["MemAvailable"])


def _cgroup_limits(root: Path, own: Path) -> Iterator[MemoryLimit]:
    for version, folder in cgroups("memory", root, own):
        files = _CGROUP_FILES[version]
        limit, usage = (_text(folder / name).strip() for name in (files.limit, files.usage))
        if limit.isdigit() and usage.isdigit() and int(limit) < _NO_LIMIT:
            used = max(0, int(usage) - _inactive(folder, files.inactive))
            yield MemoryLimit(int(limit), max(0, int(limit) - used))


def _inactive(folder: Path, key: str) -> int:
    pairs = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == key), 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
