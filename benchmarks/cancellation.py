r"""Measure how long a bulk call of an embedding model runs on after it was cancelled.

    python -m benchmarks.cancellation --artifact dist/all-minilm-l6-v2 \
        --rust bridge/target/release/examples/cancellation

A call embeds 10,000 texts, and another thread cancels it after a random time. The figure is the time from the
cancellation to the end of the call; its target is 200 ms at p99.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx_ml_bridge import CancelToken, Embedder, EmbedOptions, Model, StoppedError
from rich.console import Console
from rich.table import Table

from .console import print_machine
from .corpora.composed_texts import composed_texts
from .environment import child_environment
from .inputs import write_texts

_SEED = 20261126
_TARGET_MS = 200.0


def python_stops(artifact: Path, variant: str, texts: list[str], times: Sequence[float]) -> list[float]:
    """Return the milliseconds from each cancellation to the end of its call, in Python.

    :param times: the seconds after which the calls are cancelled.
    """
    embedder = Embedder.open(Model(artifact, variant=variant))
    embedder.warm_up()
    return [_stop(embedder, texts, seconds) for seconds in times]


def rust_stops(binary: Path, artifact: Path, variant: str, file: Path, times: Sequence[float]) -> list[float]:
    """Return the milliseconds from each cancellation to the end of its call, in Rust.

    :param binary: the example `cancellation` of the crate.
    :param file: the texts as JSON lines.
    """
    command = [str(binary), str(artifact), variant, str(file), *(f"{seconds:.4f}" for seconds in times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    stops: list[float] = json.loads(done.stdout)
    return stops


def _stop(embedder: Embedder, texts: list[str], seconds: float) -> float:
    token, cancelled = CancelToken(), 0.0

    def cancel() -> None:
        nonlocal cancelled
        cancelled = time.perf_counter()
        token.cancel()

    timer = threading.Timer(seconds, cancel)
    timer.start()
    try:
        embedder.embed(texts, EmbedOptions(cancel=token))
    except StoppedError:
        return 1000 * (time.perf_counter() - cancelled)
    raise SystemExit(f"a call ended before it was cancelled, after {seconds} s")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rust", type=Path, metavar="BINARY", help="the example `cancellation` of the crate")
    parser.add_argument("--texts", type=int, default=10_000, metavar="N")
    parser.add_argument("--calls", type=int, default=100, metavar="N")
    parser.add_argument("--longest", type=float, default=3.0, metavar="SECONDS")
    options = parser.parse_args()
    source, texts = random.Random(_SEED), composed_texts(options.texts)
    times = [source.uniform(0.0, options.longest) for _ in range(options.calls)]
    console = Console()
    print_machine(console)
    table = Table("", "calls", "p50", "p90", "p99", "longest", title="ms from the cancellation to the end of the call")
    with tempfile.TemporaryDirectory() as folder:
        file = write_texts(Path(folder) / "texts.jsonl", texts)
        for variant in ("fp32", "int8"):
            _add_row(table, f"Python, {variant}", python_stops(options.artifact, variant, texts, times))
            if options.rust is not None:
                stops = rust_stops(options.rust, options.artifact, variant, file, times)
                _add_row(table, f"Rust, {variant}", stops)
    console.print(table)


def _add_row(table: Table, name: str, stops: Sequence[float]) -> None:
    p50, p90, p99 = np.percentile(stops, [50, 90, 99])
    met = "met" if p99 <= _TARGET_MS else "missed"
    table.add_row(name, str(len(stops)), f"{p50:.1f}", f"{p90:.1f}", f"{p99:.1f} {met}", f"{max(stops):.1f}")


if __name__ == "__main__":
    main()
