r"""Measure runs over files: memory for 10,000 and 100,000 rows, and speed compared with one call and the same output.

    python -m benchmarks.bulk --artifact dist/all-minilm-l6-v2 --rust bridge/target/release/onnx-ml-bridge

The texts have 6 to 14 words, 8 to 16 tokens. A round measures, one after the other, a process that passes all texts to
`generate_embeddings_batch` and writes the same lines, and a process of every command that embeds the file. The figures
are ratios within a round: texts/s of the command to those of the call (target: at least 0.95), and its peak memory for
all rows to that for a tenth of them (target: at most 1.05).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .console import print_machine
from .environment import child_environment
from .inputs import write_texts

_SEED = 20261126
_SPEED_TARGET, _MEMORY_TARGET = 0.95, 1.05
# The call that a command is compared with. Loading the model counts for both.
_CALL = """
import sys, json, orjson
from onnx_ml_bridge import OnnxMlBridge
model, source, target = sys.argv[1:]
with open(source, "rb") as file:
    texts = [json.loads(line) for line in file]
vectors = OnnxMlBridge.open(model).generate_embeddings_batch(texts)
with open(target, "wb") as file:
    for vector in vectors:
        line = {"embedding": vector, "truncated": False}
        file.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
"""


@dataclass(frozen=True)
class Usage:
    """What a process used: seconds, and the peak of its resident memory in bytes."""

    seconds: float
    peak: int


def measure(command: Sequence[str]) -> Usage:
    """Run a command and return what it used."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=child_environment())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {' '.join(command)}")
    return Usage(time.perf_counter() - started, usage.ru_maxrss * 1024)


def short_texts(count: int) -> Iterator[str]:
    """Yield texts of a few words."""
    random.seed(_SEED)
    words = ["the", "lease", "cat", "signed", "was", "river", "green", "stone", "by", "house", "old", "light"]
    for _ in range(count):
        yield " ".join(random.choices(words, k=random.randint(6, 14)))


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--rust", help="the Rust command")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=110)
    print_machine(console)
    commands = {"Python": [sys.executable, "-m", "onnx_ml_bridge"]}
    if options.rust:
        commands["Rust"] = [options.rust]
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        large = write_texts(Path(folder, "large.jsonl"), short_texts(options.rows))
        small = write_texts(Path(folder, "small.jsonl"), short_texts(options.rows // 10))
        for number in range(options.rounds):
            call = measure([sys.executable, "-c", _CALL, options.artifact, str(large), str(Path(folder, "call.jsonl"))])
            for name, command in commands.items():
                line = [*command, "embed", "--model", options.artifact]
                outputs = [Path(folder, f"{name}-{number}-{size}") for size in ("large", "small")]
                whole = measure([*line, "--input", str(large), "--output", str(outputs[0])])
                tenth = measure([*line, "--input", str(small), "--output", str(outputs[1])])
                speeds[name].append(call.seconds / whole.seconds)
                memory[name].append(whole.peak / tenth.peak)
    _print(console, speeds, memory)


def _print(console: Console, speeds: dict[str, list[float]], memory: dict[str, list[float]]) -> None:
    table = Table("command", "figure", "median", "worst", "target")
    for name, values in speeds.items():
        row = f"{statistics.median(values):.3f}", f"{min(values):.3f}", f">= {_SPEED_TARGET}"
        table.add_row(name, "texts/s relative to one call", *row)
    for name, values in memory.items():
        row = f"{statistics.median(values):.3f}", f"{max(values):.3f}", f"<= {_MEMORY_TARGET}"
        table.add_row(name, "peak memory relative to a tenth of the rows", *row)
    console.print(table)


if __name__ == "__main__":
    main()
