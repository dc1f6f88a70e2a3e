r"""Measure how long llama.cpp's server works on after a call of a language model was cancelled.

    python -m benchmarks.slots --gguf model.gguf

Every call streams a long answer, and another thread cancels it after a random time. The figure is the time from the
cancellation until no slot of the server is busy, as it says itself every 2 ms; its target is 100 ms at p95.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx_ml_bridge import (
    ApiModel,
    ApiServer,
    CancelToken,
    OpenAiMlBridge,
    StoppedError,
    SummarizeOptions,
)
from rich.console import Console

from .console import print_machine

_SEED = 20261127
_TARGET_MS = 100.0
_CONTEXT = 8192
_PAUSE = 0.002
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def llama_server(file: Path) -> Iterator[str]:
    """Run a server of a GGUF file on a loopback port; the value is its URL without a path."""
    module = [sys.executable, "-m", "onnx_ml_bridge.backends.llama_child"]
    command = [*module, "--model", str(file), "--port", "0", "--ctx-size", str(_CONTEXT), "--threads", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1]
        finally:
            process.kill()


def is_busy(address: str) -> bool:
    """Return whether a slot of the server works."""
    with _OPENER.open(f"{address}/slots", timeout=10) as answer:
        slots: list[dict[str, Any]] = json.loads(answer.read())
    return any(slot["is_processing"] for slot in slots)


def busy_after_cancellation(bridge: OpenAiMlBridge, address: str, seconds: float) -> float | None:
    """Return the milliseconds from a cancellation until the server is idle; None if the answer was complete before.

    :param seconds: the time from the first part of the answer to the cancellation.
    """
    token, started, cancelled = CancelToken(), threading.Event(), 0.0

    def cancel() -> None:
        nonlocal cancelled
        started.wait()
        time.sleep(seconds)
        cancelled = time.perf_counter()
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    options = SummarizeOptions(cancel=token, temperature=2.0, on_token=lambda index, part: started.set())
    try:
        bridge.summarizer().summarize([["one"]], options)
    except StoppedError:
        while is_busy(address):
            time.sleep(_PAUSE)
        return 1000 * (time.perf_counter() - cancelled)
    finally:
        started.set()
        thread.join()
    return None


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="a language model")
    parser.add_argument("--calls", type=int, default=100, metavar="N")
    arguments = parser.parse_args()
    console, rng = Console(), random.Random(_SEED)
    print_machine(console)
    with llama_server(arguments.gguf) as address:
        model = ApiModel("m", context=_CONTEXT, max_output_tokens=_CONTEXT - 2048)
        bridge = OpenAiMlBridge.open(summarization=model, server=ApiServer(base_url=f"{address}/v1"))
        measured = [busy_after_cancellation(bridge, address, rng.uniform(0, 0.3)) for _ in range(arguments.calls)]
    found = [each for each in measured if each is not None]
    p50, p95 = np.percentile(found, [50, 95])
    verdict = "within" if p95 <= _TARGET_MS else "above"
    console.print(f"{len(found)} of {len(measured)} calls were cancelled while the server worked")
    console.print(f"busy after the cancellation: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {verdict} {_TARGET_MS:.0f} ms")


if __name__ == "__main__":
    main()
