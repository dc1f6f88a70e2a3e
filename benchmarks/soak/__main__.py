r"""Run models under random load, and compare memory, threads and open files after the warm-up and at the end.

    python -m benchmarks.soak --artifacts dist --minutes 60 --rust bridge/target/release/examples/soak

Texts have 1 to 512 tokens, batches 1 to 64 texts; a tenth of the calls is cancelled, another tenth has a short time
limit. Every 30 seconds a model is reloaded; the first one stays. The warm-up begins with the largest calls and a reload
of every model. It takes 5 minutes, because ONNX Runtime reserves memory in regions of doubled size and comes to use the
whole of them only after many runs. After the warm-up and at the end no calls are made for 120 seconds, in which idle
threads end. Before both, all models but the first are reloaded and the same calls are made, because the memory depends
on the last calls. From one rest to the other the memory may grow by at most max(2 %, 16 MiB), and the numbers of
threads and open files may not grow. No call may fail, except by being stopped. The exit status is 1 otherwise. Nothing
else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..console import print_machine
from ..corpora.composed_texts import composed_texts
from ..environment import child_environment
from ..inputs import write_bridge

_SEED = 20261126
_MIB = 1 << 20
# Allowed growth of the resident memory: the larger of a share and a size
_GROWTH_SHARE, _GROWTH_BYTES = 0.02, 16 * _MIB
# The time under load before the first rest, in seconds
_WARM_UP = 300.0
# The length of a rest, and the part of it that is measured, in seconds: the reloads and calls before the rest end in
# it, threads without work end a minute later, and the process may open its models for some seconds at its start
_REST, _MEASURED = 120.0, (100.0, 115.0)
# Codes of calls that were stopped on purpose
_STOPS = ("ok", "cancelled", "timeout")


@dataclass(frozen=True)
class Sample:
    """What the process uses `at` seconds after its start: resident memory in bytes, threads and open files."""

    at: float
    resident: int
    threads: int
    files: int


@dataclass(frozen=True)
class Growth:
    """The process at rest, after the warm-up and at the end."""

    before: Sample
    after: Sample

    @property
    def is_met(self) -> bool:
        """Whether memory, threads and open files are within their limits."""
        limit = self.before.resident + max(_GROWTH_SHARE * self.before.resident, _GROWTH_BYTES)
        flat = self.after.threads <= self.before.threads and self.after.files <= self.before.files
        return self.after.resident <= limit and flat


def rests(seconds: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the beginnings and ends of both rests, with so many seconds under load between them."""
    first, last = _WARM_UP, _WARM_UP + _REST + seconds
    return (first, first + _REST), (last, last + _REST)


def growth(samples: Sequence[Sample], seconds: float) -> Growth:
    """Compare both rests of a process that was under load for so many seconds between them."""
    (first, _), (last, _) = rests(seconds)
    return Growth(_at_rest(samples, first), _at_rest(samples, last))


def _at_rest(samples: Sequence[Sample], rest: float) -> Sample:
    """Return the median of the memory in a rest, and the highest numbers of threads and files."""
    found = [sample for sample in samples if rest + _MEASURED[0] <= sample.at <= rest + _MEASURED[1]]
    threads, files = max(sample.threads for sample in found), max(sample.files for sample in found)
    return Sample(rest, int(statistics.median(sample.resident for sample in found)), threads, files)


def soak(command: Sequence[str]) -> tuple[list[Sample], Counter[str]]:
    """Run a process under load. Return a sample for every second and the numbers of calls by outcome.

    :raises SystemExit: if the process fails.
    """
    import psutil

    samples: list[Sample] = []
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, stdout=output, env=child_environment()) as process:
            watched, started = psutil.Process(process.pid), time.monotonic()
            while process.poll() is None:
                try:
                    with watched.oneshot():
                        sizes = watched.memory_info().rss, watched.num_threads(), watched.num_fds()
                except psutil.Error:  # the process has just ended
                    break
                samples.append(Sample(time.monotonic() - started, *sizes))
                time.sleep(1)
        if process.returncode:
            raise SystemExit(f"the process under load ended with the status {process.returncode}")
        output.seek(0)
        return samples, Counter(json.load(output))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="a folder of artifacts")
    parser.add_argument("--rust", type=Path, metavar="BINARY", help="the example `soak` of the crate")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="after the warm-up, for each language")
    parser.add_argument("--callers", type=int, default=8, metavar="N")
    options = parser.parse_args()
    console = Console()
    print_machine(console)
    commands = {"Python": [sys.executable, "-m", "benchmarks.soak.load"]}
    if options.rust is not None:
        commands["Rust"] = [str(options.rust)]
    with tempfile.TemporaryDirectory() as folder:
        bridge = Path(folder) / "bridge.toml"
        write_bridge(options.artifacts, bridge)
        words = Path(folder) / "words.txt"
        words.write_text(" ".join(composed_texts(400)), encoding="utf-8")
        seconds = 60 * options.minutes
        config = {"bridge": str(bridge), "words": str(words), "rests": rests(seconds)}
        config |= {"callers": options.callers, "seed": _SEED}
        results = {name: soak([*command, json.dumps(config)]) for name, command in commands.items()}
    sys.exit(_report(console, results, seconds))


def _report(console: Console, results: dict[str, tuple[list[Sample], Counter[str]]], seconds: float) -> int:
    """Print a table; return 1 if a process does not pass."""
    table = Table(
        "",
        "calls",
        "stopped",
        "failed",
        "MiB",
        "threads",
        "files",
        "",
        title="after the warm-up and at the end",
    )
    status = 0
    for name, (samples, outcomes) in results.items():
        grown = growth(samples, seconds)
        codes = Counter[str]()
        for outcome, count in outcomes.items():
            codes[outcome.rpartition(" ")[2]] += count
        failed = {code: count for code, count in codes.items() if code not in _STOPS}
        met = grown.is_met and not failed
        status |= not met
        spans = [(grown.before.resident // _MIB, grown.after.resident // _MIB)]
        spans += [(grown.before.threads, grown.after.threads), (grown.before.files, grown.after.files)]
        table.add_row(
            name,
            str(codes.total()),
            str(codes["cancelled"] + codes["timeout"]),
            ", ".join(f"{code} {count}" for code, count in sorted(failed.items())) or "0",
            *(f"{before} → {after}" for before, after in spans),
            "met" if met else "missed",
        )
    console.print(table)
    return status


if __name__ == "__main__":
    main()
