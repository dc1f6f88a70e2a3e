r"""Run models under random load and compare memory, threads and open files at the end with those after the warm-up.

    python -m benchmarks.soak --artifacts dist --minutes 60 --rust bridge/target/release/examples/soak

Texts have 1 to 512 tokens, batches 1 to 64 texts; a tenth of the calls is cancelled, another tenth has a short time
limit. Every 30 seconds a model is reloaded. The process passes if no call fails, except by being stopped, and if from
the warm-up (the first fifth of the time) to the end the resident memory grows by at most max(2 %, 16 MiB) and threads
and open files do not grow. The exit status is 1 otherwise.
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
# Codes of calls that were stopped on purpose
_STOPS = ("ok", "cancelled", "timeout")


@dataclass(frozen=True)
class Sample:
    """What the process under load uses: resident memory in bytes, threads and open files."""

    resident: int
    threads: int
    files: int


@dataclass(frozen=True)
class Growth:
    """The samples after the warm-up and at the end: the median of the memory, the lowest threads and open files."""

    before: Sample
    after: Sample

    @property
    def is_met(self) -> bool:
        """Whether memory, threads and open files are within their limits."""
        limit = self.before.resident + max(_GROWTH_SHARE * self.before.resident, _GROWTH_BYTES)
        flat = self.after.threads <= self.before.threads and self.after.files <= self.before.files
        return self.after.resident <= limit and flat


def growth(samples: Sequence[Sample]) -> Growth:
    """Compare the second fifth of the samples with the last fifth."""
    fifth = max(len(samples) // 5, 1)
    return Growth(_summary(samples[fifth : 2 * fifth]), _summary(samples[-fifth:]))


def _summary(samples: Sequence[Sample]) -> Sample:
    # The calls under load start threads that cancel them, and reloads start processes: only what never ends is a leak
    resident = int(statistics.median(sample.resident for sample in samples))
    return Sample(resident, min(sample.threads for sample in samples), min(sample.files for sample in samples))


def soak(command: Sequence[str], seconds: float) -> tuple[list[Sample], Counter[str]]:
    """Run a process under load. Return a sample for every second and the numbers of calls by outcome.

    :raises SystemExit: if the process fails.
    """
    import psutil

    samples: list[Sample] = []
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, stdout=output, env=child_environment()) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                try:
                    with watched.oneshot():
                        sample = Sample(watched.memory_info().rss, watched.num_threads(), watched.num_fds())
                except psutil.Error:  # the process has just ended
                    break
                samples.append(sample)
                time.sleep(1)
        if process.returncode:
            raise SystemExit(f"the process under load ended with the status {process.returncode}")
        output.seek(0)
        outcomes = Counter(json.load(output))
    # The samples of the time in which models are opened and closed do not count
    return samples[2 : max(int(seconds) - 1, 3)], outcomes


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="a folder of artifacts")
    parser.add_argument("--rust", type=Path, metavar="BINARY", help="the example `soak` of the crate")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="for each language")
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
        config = {"bridge": str(bridge), "words": str(words), "seconds": int(60 * options.minutes)}
        config |= {"callers": options.callers, "seed": _SEED}
        results = {name: soak([*command, json.dumps(config)], config["seconds"]) for name, command in commands.items()}
    sys.exit(_report(console, results))


def _report(console: Console, results: dict[str, tuple[list[Sample], Counter[str]]]) -> int:
    """Print a table; return 1 if a process does not pass."""
    table = Table("", "calls", "stopped", "failed", "MiB", "threads", "files", "", title="from the warm-up to the end")
    status = 0
    for name, (samples, outcomes) in results.items():
        grown = growth(samples)
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
