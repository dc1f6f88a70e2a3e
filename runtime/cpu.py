"""What this machine is: instruction set, processors that may be used, and what follows from both."""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path

from ..artifacts.manifest import Machine

# The one list of the saturation rule (FORMAT.md, "int8 graphs"): with any of these, 8-bit products cannot saturate.
EXACT_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni")
_REPORTED = ("avx2", "fma", "avx512f", "avx512bw", *EXACT_INT8, "avx512_bf16", "amx_bf16", "asimd", "asimddp", "i8mm")


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Feature flags of the first processor as Linux names them; empty where they cannot be read."""
    return frozenset(_cpuinfo("flags").split() + _cpuinfo("Features").split())


def instruction_set() -> tuple[str, ...]:
    """The flags that decide how fast and how exact matrix products are, in a fixed order."""
    return tuple(flag for flag in _REPORTED if flag in cpu_flags())


def has_exact_int8() -> bool:
    """Whether 8-bit products are exact and fast on this CPU (VNNI or AMX)."""
    return any(flag in cpu_flags() for flag in EXACT_INT8)


def needs_exact_kernel(machine: str | None = None, flags: frozenset[str] | None = None) -> bool:
    """Whether `session.x64quantprecision` must be set: x86-64 with none of `EXACT_INT8`."""
    machine = machine or platform.machine()
    flags = cpu_flags() if flags is None else flags
    return machine.lower() in ("x86_64", "amd64") and flags.isdisjoint(EXACT_INT8)


def usable_cpus() -> int:
    """Processors this process may use: the smaller of its affinity and its cgroup's CPU quota, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def describe(threads: int) -> Machine:
    """The machine, for figures that are recorded."""
    return Machine(_cpuinfo("model name") or platform.processor() or platform.machine(), instruction_set(), threads)


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that cgroup version 2 grants, in whole CPUs and fractions; None without a limit."""
    try:
        groups = [
            line.split("::", 1)[1].strip("/\n") for line in own.read_text().splitlines() if line.startswith("0::")
        ]
    except OSError:
        return None
    quotas = []
    for group in groups:
        parts = Path(group).parts
        for depth in range(len(parts) + 1):  # a limit anywhere above counts
            quotas += _quota(root.joinpath(*parts[:depth], "cpu.max"))
    return min(quotas, default=None)


def _quota(path: Path) -> list[float]:
    try:
        limit, period = path.read_text().split()
        return [] if limit == "max" else [int(limit) / int(period)]
    except (OSError, ValueError):
        return []


@functools.cache
def _cpuinfo(key: str) -> str:
    """First value of that key in /proc/cpuinfo, or an empty string."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
