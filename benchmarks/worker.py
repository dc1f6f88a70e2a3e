"""The process of one contender: `python -m benchmarks.worker MODE JOB TEXTS`, JOB in JSON, TEXTS a file of JSON lines.

`first` loads, embeds the first text, prints a line and ends; `bulk` does so with all texts in one call. `serve` loads
and then answers one JSON object a line: `{"do": "time", "batch": 8}` with `{"seconds": ...}` for all texts in batches
of that size, `{"do": "vectors", "file": ...}` with `{}` after it saved the vectors. The end of the input ends it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .contenders import Job, Unavailable, load

if TYPE_CHECKING:
    from .contenders import Embed


def main(mode: str, job: str, texts: str) -> None:
    """Run one mode."""
    channel = claim_stdout()
    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    inputs = [json.loads(line) for line in (lines[:1] if mode == "first" else lines)]
    try:
        embed = load(Job(**json.loads(job)))
    except Unavailable as error:
        say(channel, {"unavailable": str(error)})
        return
    if mode == "serve":
        _serve(embed, inputs, channel)
    else:
        say(channel, {"vectors": len(embed(inputs))})


def _serve(embed: Embed, texts: list[str], channel: TextIO) -> None:
    say(channel, {"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "time":
            say(channel, {"seconds": _seconds(embed, texts, command["batch"])})
        else:
            import numpy as np

            np.save(command["file"], embed(texts))
            say(channel, {})


def _seconds(embed: Embed, texts: list[str], batch: int) -> float:
    """Seconds for all texts, in the caller's batches and order."""
    batches = [texts[start : start + batch] for start in range(0, len(texts), batch)]
    started = time.perf_counter()
    for part in batches:
        embed(part)
    return time.perf_counter() - started


def claim_stdout() -> TextIO:
    """Standard output for the answers alone: whatever libraries print goes to standard error from now on."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def say(channel: TextIO, answer: dict[str, object]) -> None:
    """One answer as a line of JSON."""
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
