"""Run one command and measure it: `python -I -S launch.py FILE COMMAND...`, with FILE as the command's standard input.

It prints one JSON object: `first_s`, the seconds from the start of the process to its first line of output;
`peak_bytes`, its peak resident memory; `status`, its exit status.

This is a separate program that imports only the standard library. Linux keeps the peak memory of a process across exec,
so a child reports at least the memory of its parent. The parent must therefore be smaller than everything it measures.
"""

import json
import os
import subprocess
import sys
import time

_UNIT = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss in bytes


def measure(stdin: str, command: list[str]) -> dict[str, float]:
    """Run the command and return its measurements."""
    with open(stdin, "rb") as texts:  # noqa: PTH123 - importing pathlib would use memory
        started = time.perf_counter()
        child = subprocess.Popen(command, stdin=texts, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    first = time.perf_counter() - started
    while child.stdout.read(1 << 20):
        pass
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return {"first_s": first, "peak_bytes": usage.ru_maxrss * _UNIT, "status": child.returncode}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2:])))
