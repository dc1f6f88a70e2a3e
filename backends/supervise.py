"""Runs a command that ends when the standard input of this process is closed: `python supervise.py COMMAND...`.

The parent writes a line when the command may start. This file imports nothing of the package, to be small.
"""

from __future__ import annotations

import subprocess
import sys
import threading


def main() -> int:
    """Return the exit status of the command."""
    sys.stdin.buffer.readline()
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(error, file=sys.stderr)
        return 127
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    return child.wait()


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    while sys.stdin.buffer.read(65536):
        pass
    child.kill()


if __name__ == "__main__":
    sys.exit(main())
