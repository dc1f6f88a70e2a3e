"""Measure how long a bulk call of an embedding model runs on after it was cancelled.

    python -m benchmarks.cancellation --artifact dist/all-minilm-l6-v2

A call embeds 10,000 texts. Another thread cancels it after a random time. The figure is the time from the cancellation
to the end of the call; its target is 200 ms at p99.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from pathlib import Path

import numpy as np
from onnx_ml_bridge import CancelToken, Embedder, EmbedOptions, Model, StoppedError
from onnx_ml_bridge.runtime import cpu
from rich.console import Console
from rich.table import Table

from .corpora.composed_texts import composed_texts

_SEED = 20261126
_TARGET_MS = 200.0


def stop_times(embedder: Embedder, texts: list[str], calls: int, longest: float) -> list[float]:
    """Return, for each call, the milliseconds from its cancellation to its end.

    :param longest: the longest time in seconds after which a call is cancelled.
    """
    source, times = random.Random(_SEED), []
    for _ in range(calls):
        token, cancelled = CancelToken(), [0.0]

        def cancel(token: CancelToken = token, cancelled: list[float] = cancelled) -> None:
            cancelled[0] = time.perf_counter()
            token.cancel()

        timer = threading.Timer(source.uniform(0.0, longest), cancel)
        timer.start()
        try:
            embedder.embed(texts, EmbedOptions(cancel=token))
            raise SystemExit(f"a call ended before it was cancelled; use a shorter time than {longest} s")
        except StoppedError:
            times.append(1000 * (time.perf_counter() - cancelled[0]))
        timer.join()
    return times


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--texts", type=int, default=10_000, metavar="N")
    parser.add_argument("--calls", type=int, default=100, metavar="N")
    parser.add_argument("--longest", type=float, default=3.0, metavar="SECONDS")
    options = parser.parse_args()
    console, machine = Console(), cpu.describe(cpu.usable_cpus())
    console.print(f"{machine.cpu}, {machine.threads} CPUs, {' '.join(machine.instruction_set)}", markup=False)
    table = Table("variant", "calls", "p50", "p90", "p99", "longest", title="ms from the cancellation to the end")
    for variant in ("fp32", "int8"):
        embedder = Embedder.open(Model(options.artifact, variant=variant))
        embedder.warm_up()
        times = stop_times(embedder, composed_texts(options.texts), options.calls, options.longest)
        p50, p90, p99 = np.percentile(times, [50, 90, 99])
        met = "met" if p99 <= _TARGET_MS else "missed"
        row = (f"{p50:.1f}", f"{p90:.1f}", f"{p99:.1f} {met}", f"{max(times):.1f}")
        table.add_row(variant, str(len(times)), *row)
    console.print(table)


if __name__ == "__main__":
    main()
