"""Run the commands over files, for tests that interrupt and resume them."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples import VALID

PYTHON = (sys.executable, "-m", "onnx_ml_bridge")
TINY = VALID / "tiny-embedding"


def write_rows(path: Path, rows: int) -> Path:
    """Write JSON lines, every tenth of which is invalid."""
    lines = [json.dumps(f"the cat {row} runs") if row % 10 else '{"txt": 1}' for row in range(rows)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def arguments(command: Sequence[str], source: Path, output: Path, *options: object) -> list[str]:
    """Return the command line that embeds a file with the tiny model."""
    given = ["embed", "--model", TINY, "--input", source, "--output", output, *options]
    return [*command, *map(str, given)]


def run(command: Sequence[str], source: Path, output: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """Embed a file with the tiny model."""
    line = arguments(command, source, output, *options)
    return subprocess.run(line, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a folder by name; the empty lock file is left out."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def kill_and_resume(line: Sequence[str], folder: Path, kills: int, seconds: float) -> Iterator[int]:
    """Run a command with --resume, and kill it `kills` times in all.

    A kill follows a random number of new parts after up to a tenth of `seconds`, the time of a whole run. Slow and fast
    machines are so killed at the same parts. Yields how many parts the kills interrupted the run at, whenever a run is
    complete, and then starts again with an empty folder if there are kills left.
    """
    random.seed(5)
    killed, interrupted = 0, set()
    while True:
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
            if killed < kills:
                _wait_for_parts(process, folder, _parts(folder) + random.randrange(10))
                time.sleep(random.uniform(0, seconds / 10))
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            killed += 1
            interrupted.add(_parts(folder))
            continue
        assert process.returncode in (0, 1), errors
        yield len(interrupted)
        if killed >= kills:
            return
        shutil.rmtree(folder)


def _parts(folder: Path) -> int:
    return len(list(folder.glob("part-*")))


def _wait_for_parts(process: subprocess.Popen[str], folder: Path, parts: int) -> None:
    """Wait until the folder has this many parts, or the process has ended."""
    while process.poll() is None and _parts(folder) < parts:
        time.sleep(0.001)
