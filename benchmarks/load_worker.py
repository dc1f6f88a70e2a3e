"""Measure an embedding model under load, in a process of its own: `load_worker.py ARTIFACT VARIANT FILE OPTIONS`.

FILE has one JSON string per line, OPTIONS is a JSON object with the fields of `Load`. Prints the figures as JSON.
The script uses only the public API, so that it also measures an earlier release, with that release's interpreter.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx_ml_bridge import Embedder, Model


@dataclass(frozen=True)
class Load:
    """What is measured: a bulk call of `texts` in `runs`; `workers` is None for the model's default."""

    texts: int
    runs: int
    workers: int | None
    callers: int
    seconds: float


@dataclass(frozen=True)
class LoadFigures:
    """The figures of one process; times are in milliseconds.

    `run_ms` is the mean time of a run of a bulk call. `single_ms` has the times of single texts beside a bulk call,
    `caller_ms` those of single texts of concurrent callers: the median, the 99th percentile and the longest.
    `bulk_rate` and `beside_rate` are the texts per second of a bulk call alone and beside single texts, `caller_share`
    is the texts per second of all concurrent callers together as a share of those of a bulk call. `threads` is the
    number of threads of the process beside those of the callers, None if it is unknown.
    """

    run_ms: float
    bulk_rate: float
    single_ms: list[float]
    beside_rate: float
    caller_ms: list[float]
    caller_share: float
    threads: int | None


def measure(artifact: Path, variant: str, texts: list[str], load: Load) -> LoadFigures:
    """Measure one model."""
    workers = {} if load.workers is None else {"workers": load.workers}
    embedder = Embedder.open(Model(artifact, variant=variant, **workers))
    embedder.embed(texts[:64])
    began = time.perf_counter()
    embedder.embed(texts)
    alone = time.perf_counter() - began
    single, beside = _beside(embedder, texts)
    threads, times, seconds = _callers(embedder, texts, load)
    return LoadFigures(
        run_ms=1000 * alone / load.runs,
        bulk_rate=len(texts) / alone,
        single_ms=_summary(single),
        beside_rate=len(texts) / beside,
        caller_ms=_summary(times),
        caller_share=len(times) / seconds * alone / len(texts),
        threads=threads,
    )


def _beside(embedder: Embedder, texts: list[str]) -> tuple[list[float], float]:
    """Embed single texts as long as a bulk call runs; return their times and that of the bulk call in seconds."""
    took: list[float] = []

    def bulk() -> None:
        began = time.perf_counter()
        embedder.embed(texts)
        took.append(time.perf_counter() - began)

    thread = threading.Thread(target=bulk)
    thread.start()
    times = []
    for text in _repeated(texts, 0):
        if not thread.is_alive() and times:
            break
        times.append(_time(embedder, text))
    thread.join()
    return times, took[0]


def _callers(embedder: Embedder, texts: list[str], load: Load) -> tuple[int, list[float], float]:
    """Embed single texts in concurrent threads; return the number of other threads, the times and the duration."""
    times: list[list[float]] = [[] for _ in range(load.callers)]
    end = time.perf_counter() + load.seconds

    def caller(number: int) -> None:
        for text in _repeated(texts, number * 17):
            if time.perf_counter() >= end:
                return
            times[number].append(_time(embedder, text))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(load.callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    others = 0
    # The main thread executes Python code now and then, as that of a server does
    for thread in threads:
        while thread.is_alive():
            others = max(others, threading.active_count() - load.callers)
            thread.join(0.1)
    return others, [each for some in times for each in some], time.perf_counter() - began


def _repeated(texts: list[str], start: int) -> Iterator[str]:
    while True:
        yield texts[start % len(texts)]
        start += 1


def _time(embedder: Embedder, text: str) -> float:
    began = time.perf_counter()
    embedder.embed([text])
    return time.perf_counter() - began


def _summary(seconds: list[float]) -> list[float]:
    return [float(1000 * value) for value in np.percentile(seconds, [50, 99, 100])]


def main() -> None:
    """Run the script."""
    artifact, variant, file, options = sys.argv[1:]
    texts = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    print(json.dumps(asdict(measure(Path(artifact), variant, texts, Load(**json.loads(options))))))


if __name__ == "__main__":
    main()
