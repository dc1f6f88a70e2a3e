r"""Measure how long llama.cpp's server works on after a call of a language model was stopped.

    python -m benchmarks.slots --gguf model.gguf --rust bridge/target/release/examples/slots

Every call streams a long answer, and is stopped a random time after its first part: it is cancelled, or, in Rust, its
future is dropped. The figure is the time from then until no slot of the server is busy, as it says itself every 2 ms;
its target is 100 ms at p95.
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
from collections.abc import Iterator, Sequence
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
from rich.table import Table

from .console import print_machine

_SEED = 20261127
_TARGET_MS = 100.0
_CONTEXT = 8192
_PAUSE = 0.002
_LONGEST = 0.3
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


def busy_since(stopped: float, address: str) -> float:
    """Wait until the server is idle, and return the milliseconds since a time in seconds since 1970."""
    while is_busy(address):
        time.sleep(_PAUSE)
    return 1000 * (time.time() - stopped)


def python_figures(address: str, times: Sequence[float]) -> list[float | None]:
    """Return the milliseconds that the server works on after each cancellation; None if its answer was complete.

    :param times: the seconds from the first part of each answer to the cancellation.
    """
    model = ApiModel("m", context=_CONTEXT, max_output_tokens=_CONTEXT - 2048)
    with OpenAiMlBridge.open(summarization=model, server=ApiServer(base_url=f"{address}/v1")) as bridge:
        return [_cancelled(bridge, address, seconds) for seconds in times]


def _cancelled(bridge: OpenAiMlBridge, address: str, seconds: float) -> float | None:
    token, started, cancelled = CancelToken(), threading.Event(), 0.0

    def cancel() -> None:
        nonlocal cancelled
        started.wait()
        time.sleep(seconds)
        cancelled = time.time()
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    options = SummarizeOptions(cancel=token, temperature=2.0, on_token=lambda index, part: started.set())
    try:
        bridge.summarizer().summarize([["one"]], options)
    except StoppedError:
        return busy_since(cancelled, address)
    finally:
        started.set()
        thread.join()
    return None


def rust_figures(binary: Path, address: str, how: str, times: Sequence[float]) -> list[float | None]:
    """Return what `python_figures` does, for calls of the crate.

    :param binary: the example `slots` of the crate.
    :param how: `cancel`, or `drop` for calls whose future is dropped.
    """
    pipe, found = subprocess.PIPE, list[float | None]()
    with subprocess.Popen([str(binary), f"{address}/v1"], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for seconds in times:
            print(json.dumps([how, seconds]), file=process.stdin, flush=True)
            stopped: float | None = json.loads(process.stdout.readline())
            found.append(None if stopped is None else busy_since(stopped, address))
        process.stdin.close()
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="a language model")
    parser.add_argument("--rust", type=Path, metavar="BINARY", help="the example `slots` of the crate")
    parser.add_argument("--calls", type=int, default=100, metavar="N")
    arguments = parser.parse_args()
    console, rng = Console(), random.Random(_SEED)
    print_machine(console)
    times = [rng.uniform(0, _LONGEST) for _ in range(arguments.calls)]
    table = Table("", "calls", "stopped in time", "p50", "p95", "longest", title="ms from the stop to an idle server")
    with llama_server(arguments.gguf) as address:
        _add_row(table, "Python, cancelled", python_figures(address, times))
        for how, name in (("cancel", "Rust, cancelled"), ("drop", "Rust, dropped")):
            if arguments.rust is not None:
                _add_row(table, name, rust_figures(arguments.rust, address, how, times))
    console.print(table)


def _add_row(table: Table, name: str, measured: Sequence[float | None]) -> None:
    found = [each for each in measured if each is not None]
    p50, p95 = np.percentile(found, [50, 95])
    met = "met" if p95 <= _TARGET_MS else "missed"
    table.add_row(name, str(len(measured)), str(len(found)), f"{p50:.1f}", f"{p95:.1f} {met}", f"{max(found):.1f}")


if __name__ == "__main__":
    main()
