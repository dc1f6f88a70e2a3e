"""The process of one contender for entities: `python -m benchmarks.ner_worker MODE JOB TEXTS`, TEXTS being JSON lines.

`once` loads, finds the entities of all texts in one call, prints a line and ends. `serve` loads and then answers each
`{"part": 0, "parts": 6}` with `{"seconds", "cpu_seconds", "entities"}` of every sixth text, from the first one on, in
one call; the CPU seconds are those of all threads of the process. The end of the input ends it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .contenders import Unavailable
from .ner_contenders import NerJob, load
from .worker import claim_stdout, say

if TYPE_CHECKING:
    from .ner_contenders import Recognize


def main(mode: str, job: str, texts: str) -> None:
    """Run one mode."""
    channel = claim_stdout()
    inputs = [json.loads(line) for line in Path(texts).read_text(encoding="utf-8").splitlines()]
    try:
        recognize = load(NerJob(**json.loads(job)))
    except Unavailable as error:
        say(channel, {"unavailable": str(error)})
        return
    if mode == "serve":
        _serve(recognize, inputs, channel)
    else:
        say(channel, {"entities": _count(recognize(inputs))})


def _serve(recognize: Recognize, texts: list[str], channel: TextIO) -> None:
    say(channel, {"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        chosen = texts[command["part"] :: command["parts"]]
        started, used = time.perf_counter(), time.process_time()
        found = recognize(chosen)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
        say(channel, {"seconds": seconds, "cpu_seconds": cpu_seconds, "entities": _count(found)})


def _count(found: list[list[object]]) -> int:
    return sum(map(len, found))


if __name__ == "__main__":
    main(*sys.argv[1:])
