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

from . import cpu
from .cgroup import ROOT, cgroups

# Memory is scarce below this share of what the process may use.
_SCARCE = 0.1
# cgroup version 1 states a number above this one if there is no limit.
_NO_LIMIT = 1 << 60
PROC = Path("/proc")
# The fields of /proc/PID/stat after the name: the group, and the pages in RAM
_GROUP, _RESIDENT = 2, 21
# Options of mallopt, from the GNU C library's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# The environment variables and the tunables with which a host sets them itself
_HOST_SETTINGS = {
    _MMAP_THRESHOLD: ("MALLOC_MMAP_THRESHOLD_", "glibc.malloc.mmap_threshold"),
    _ARENA_MAX: ("MALLOC_ARENA_MAX", "glibc.malloc.arena_max"),
}
# The threshold in bytes: larger blocks are mapped on their own. Most weights are larger, most texts are not.
_LARGE = 1 << 20


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


def group_bytes(group: int, proc: Path = PROC) -> int:
    """Return the memory of all processes of a group that is in RAM, in bytes; 0 if the system does not state it.

    :param proc: the folder that is /proc.
    """
    found = [_stat(folder) for folder in proc.glob("[0-9]*")]
    pages = sum(int(fields[_RESIDENT]) for fields in found if len(fields) > _RESIDENT and fields[_GROUP] == str(group))
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stat(process: Path) -> list[str]:
    """Return what the system states of a process, after its name; nothing of one that has ended."""
    try:
        text = (process / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name in brackets may itself have brackets and spaces


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
    """Return the memory that the process has freed to the system, which the GNU C library keeps otherwise."""
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


@functools.cache
def limit_fragmentation() -> None:
    """Let the GNU C library keep less of the memory that is freed. An option that the host sets keeps its value.

    Each large block is mapped on its own, so that the system gets it back when it is freed. By default, the size from
    which this happens rises to that of the largest block that was ever freed, up to 32 MiB. Blocks of weights then lie
    among those of running calls, and the memory of a process that reloads models under load grows for hours.

    There is one heap (arena) per CPU instead of eight: each of them keeps what fragments it.
    """
    set_option = _c_function("mallopt")
    if set_option is None:
        return
    if not _is_set_by_host(_MMAP_THRESHOLD):
        set_option(_MMAP_THRESHOLD, _LARGE)
        # The default of 128 KiB would return and request the end of the heap again and again.
        set_option(_TRIM_THRESHOLD, 2 * _LARGE)
    if not _is_set_by_host(_ARENA_MAX):
        set_option(_ARENA_MAX, cpu.usable_cpus())


def _is_set_by_host(option: int) -> bool:
    variable, tunable = _HOST_SETTINGS[option]
    return variable in os.environ or tunable in os.environ.get("GLIBC_TUNABLES", "")


def _c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None if it has no such function."""
    if os.name != "posix":
        return None
    function: Callable[..., int] | None = getattr(_c_library(), name, None)
    return function


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


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
