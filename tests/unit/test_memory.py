"""The memory of the process and of the system, from files of /proc and of cgroups."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from examples import VALID
from onnx_ml_bridge import SummarizeOptions, Summarizer
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.memory import (
    MemoryLimit,
    group_bytes,
    is_scarce,
    memory_limits,
    process_bytes,
    return_free_memory,
)

MEMORY = "MemTotal:       1000 kB\nMemFree:           10 kB\nMemAvailable:    500 kB\nHugePages_Total:       0\n"
IN_V2 = {"proc/meminfo": MEMORY, "proc/self/cgroup": "0::/a/b\n"}
IN_V1 = {"proc/meminfo": MEMORY, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/c\n1:name=systemd:/y\n"}


def folders(tmp_path: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Write files and return the folders that stand for /proc and /sys/fs/cgroup."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "proc", tmp_path / "cgroup"


def version_2(folder: str, limit: str, usage: str, inactive: int = 0) -> dict[str, str]:
    return {
        f"cgroup{folder}/memory.max": f"{limit}\n",
        f"cgroup{folder}/memory.current": f"{usage}\n",
        f"cgroup{folder}/memory.stat": f"anon 5\nfile 7\ninactive_anon 9\ninactive_file {inactive}\nslab 3\n",
    }


def version_1(folder: str, limit: str, usage: str, inactive: int = 0) -> dict[str, str]:
    return {
        f"cgroup/memory{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"cgroup/memory{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"cgroup/memory{folder}/memory.stat": f"inactive_file 999\ntotal_inactive_file {inactive}\n",
    }


def test_the_memory_of_a_group_is_that_of_its_processes(tmp_path):
    stat = "{pid} ({name}) S 1 {group} 7 0 -1 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 {pages} 20\n"
    files = {
        "proc/7/stat": stat.format(pid=7, name="a) b", group=7, pages=100),
        "proc/8/stat": stat.format(pid=8, name="c", group=7, pages=20),
        "proc/70/stat": stat.format(pid=70, name="c", group=70, pages=3),
        "proc/9/status": "Name: a process that has ended",
        "proc/meminfo": MEMORY,
    }
    proc, _ = folders(tmp_path, files)
    assert group_bytes(7, proc) == 120 * os.sysconf("SC_PAGE_SIZE")
    assert group_bytes(7, tmp_path / "no such folder") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_the_memory_of_this_group_has_that_of_this_process():
    own = process_bytes()
    assert own is not None and group_bytes(os.getpgrp()) > 0.5 * own


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"proc/meminfo": MEMORY}, [MemoryLimit(1024_000, 512_000)]),
        ({"proc/meminfo": "MemTotal: 5 kB\n"}, []),
        ({"proc/self/cgroup": "0::/a/b\n"} | version_2("/a/b", "1000", "950", 50), [MemoryLimit(1000, 100)]),
        ({"proc/self/cgroup": "0::/a/b\n"} | version_2("/a/b", "max", "950"), []),
        # The limits above a cgroup apply too
        (
            {"proc/self/cgroup": "0::/a/b\n"} | version_2("/a/b", "900", "1") | version_2("/a", "1000", "990"),
            [MemoryLimit(900, 899), MemoryLimit(1000, 10)],
        ),
        # In a container, the own cgroup is mounted as the root
        ({"proc/self/cgroup": "0::/a/b\n"} | version_2("", "1000", "400", 100), [MemoryLimit(1000, 700)]),
        ({"proc/self/cgroup": "4:memory:/d/c\n"} | version_1("/d/c", "1000", "901", 1), [MemoryLimit(1000, 100)]),
        ({"proc/self/cgroup": "4:hugetlb,memory:/d\n"} | version_1("", "1000", "2000"), [MemoryLimit(1000, 0)]),
        ({"proc/self/cgroup": "4:memory:/d\n"} | version_1("/d", "9223372036854771712", "901"), []),
        # A file cache that is larger than the usage, and files without numbers
        ({"proc/self/cgroup": "0::/\n"} | version_2("", "1000", "50", 70), [MemoryLimit(1000, 1000)]),
        ({"proc/self/cgroup": "0::/\n"} | version_2("", "x", "50"), []),
    ],
)
def test_the_limits_of_the_machine_and_of_cgroups_are_read(tmp_path, files, expected):
    assert memory_limits(*folders(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"proc/meminfo": MEMORY}, False),
        ({"proc/meminfo": MEMORY.replace(" 500", " 99")}, True),
        ({"proc/meminfo": MEMORY.replace(" 500", " 100")}, False),
        (IN_V2 | version_2("/a/b", "1000", "901"), True),
        (IN_V2 | version_2("/a/b", "1000", "900"), False),
        (IN_V2 | version_2("/a/b", "1000", "999", 99), False),
        (IN_V2 | version_2("/elsewhere", "1000", "999"), False),
        (IN_V1 | version_1("/docker/c", "1000", "901"), True),
        (IN_V1 | version_1("/docker/c", "1000", "999", 99), False),
        (IN_V1 | version_1("", "1000", "901"), True),
    ],
)
def test_memory_is_scarce_if_less_than_a_tenth_of_a_limit_is_free(tmp_path, files, expected):
    assert is_scarce(*folders(tmp_path, files)) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these files")
def test_the_memory_of_this_process_is_known():
    def growth() -> int:
        """How much more is known to be in RAM after 64 MiB were written."""
        before = process_bytes()
        block = b"x" * (64 << 20)
        after = process_bytes()
        assert before is not None and after is not None and len(block) == 64 << 20
        return after - before

    # The system may take other pages back meanwhile
    assert max(growth() for _ in range(5)) > 60 << 20
    return_free_memory()
    assert any(each.limit > each.free > 0 for each in memory_limits())


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library has these functions")
@pytest.mark.parametrize("variable", [None, "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_large_blocks_are_returned_to_the_system_unless_the_host_decides(variable):
    value = "glibc.malloc.mmap_threshold=33554432" if variable == "GLIBC_TUNABLES" else "33554432"
    environment = {key: text for key, text in os.environ.items() if key != variable}
    environment |= {variable: value} if variable else {}
    ran = subprocess.run(
        [sys.executable, "-c", _MAPPED], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert int(ran.stdout) == (0 if variable else 20)


# Prints how many of 20 blocks of 2 MiB the C library maps on their own after a larger block was freed.
_MAPPED = """
import ctypes
from onnx_ml_bridge.runtime.memory import limit_fragmentation

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
Statistics = type("Statistics", (ctypes.Structure,), {"_fields_": [(f"field{n}", ctypes.c_size_t) for n in range(10)]})
libc.mallinfo2.restype = Statistics
limit_fragmentation()
libc.free(libc.malloc(24 << 20))
before = libc.mallinfo2().field3
blocks = [libc.malloc(2 << 20) for _ in range(20)]
print(libc.mallinfo2().field3 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library has these functions")
@pytest.mark.parametrize("own", [None, "5"])
def test_threads_share_one_heap_per_cpu_unless_the_host_decides(own):
    environment = {key: text for key, text in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    environment |= {"MALLOC_ARENA_MAX": own} if own else {}
    ran = subprocess.run(
        [sys.executable, "-c", _HEAPS], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert ran.stdout.count("<heap") == (int(own) if own else min(usable_cpus(), 12))


# Prints the state of the heaps after 12 threads had a block at the same time.
_HEAPS = """
import ctypes, threading
from onnx_ml_bridge.runtime.memory import limit_fragmentation

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
together = threading.Barrier(12)

def use():
    block = libc.malloc(1000)
    together.wait()
    libc.free(block)

limit_fragmentation()
threads = [threading.Thread(target=use) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(process_bytes() is None, reason="the system does not state the memory of a process")
@pytest.mark.families("summarization")
def test_a_tokenizer_that_is_gone_leaves_no_words_in_the_threads_that_used_it():
    """The library keeps the words of BPE models in every thread that used them, unless it is told not to."""
    source, sizes = random.Random(7), []
    for _ in range(6):
        text = " ".join(str(source.randrange(10**9)) for _ in range(10_000))
        with Summarizer.open(VALID / "tiny-summary") as summarizer:
            summarizer.summarize([[text]], SummarizeOptions(max_length=4))
        return_free_memory()
        sizes.append(process_bytes() or 0)
    assert sizes[5] < sizes[1] + (8 << 20), sizes
