"""Properties of the CPU: its instruction set, the number of usable CPUs, and whether 8-bit products are exact."""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path

from ..artifacts.manifest import Machine
from . import cgroup

# CPU flags with which 8-bit products cannot saturate (FORMAT.md, "int8 graphs"): any one of them is enough.
EXACT_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni")
# Flags that `instruction_set` reports, in this order.
_REPORTED = ("avx2", "fma", "avx512f", "avx512bw", *EXACT_INT8, "avx512_bf16", "amx_bf16", "asimd", "asimddp", "i8mm")


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the flags of the first CPU in /proc/cpuinfo; empty if they cannot be read (not on Linux)."""
    return frozenset(_cpuinfo("flags").split() + _cpuinfo("Features").split())


def instruction_set() -> tuple[str, ...]:
    """Return the CPU flags that affect the speed and the exactness of matrix products, in a fixed order."""
    return tuple(flag for flag in _REPORTED if flag in cpu_flags())


def has_exact_int8() -> bool:
    """Return whether 8-bit products are exact and fast on this CPU (VNNI or AMX)."""
    return any(flag in cpu_flags() for flag in EXACT_INT8)


def needs_exact_kernel(machine: str | None = None, flags: frozenset[str] | None = None) -> bool:
    """Return whether sessions need the option `session.x64quantprecision`: on x86-64 without any of `EXACT_INT8`.

    :param machine: the architecture, by default that of this machine.
    :param flags: the CPU flags, by default those of this machine.
    """
    machine = machine or platform.machine()
    flags = cpu_flags() if flags is None else flags
    return machine.lower() in ("x86_64", "amd64") and flags.isdisjoint(EXACT_INT8)


def usable_cpus() -> int:
    """Return the number of CPUs this process may use: the lower of its affinity and its cgroup quota, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def describe(threads: int) -> Machine:
    """Return the description of this machine that is stored with measurements, which used `threads` threads."""
    return Machine(_cpuinfo("model name") or platform.processor() or platform.machine(), instruction_set(), threads)


def _cgroup_quota(root: Path = cgroup.ROOT, own: Path = cgroup.OWN) -> float | None:
    """Return the CPU quota of cgroup version 2, in CPUs (0.5 is half of one); None without a limit."""
    folders = [folder for version, folder in cgroup.cgroups("cpu", root, own) if version == 2]
    return min((quota for folder in folders for quota in _quota(folder / "cpu.max")), default=None)


def _quota(path: Path) -> list[float]:
    """Return the quota in one `cpu.max` file as a list; the list is empty if there is no quota."""
    try:
        limit, period = path.read_text().split()
        return [] if limit == "max" else [int(limit) / int(period)]
    except (OSError, ValueError):
        return []


@functools.cache
def _cpuinfo(key: str) -> str:
    """Return the first value of a key in /proc/cpuinfo; an empty string if it is missing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
