"""The process of a Python contender: `python -m benchmarks.worker once JOB FILE` or `... serve JOB`.

JOB is a `Job` as JSON. A FILE has one text per line as JSON. `once` loads the model, answers all texts in one call,
prints a line and exits. `serve` loads the model, prints `{"load_s"}`, and then answers requests, one JSON object per
line, until its input ends:

    {"file": FILE, "batch": 8}       answers all texts with 8 texts per call, and prints the measurements
                                     `{"seconds", "cpu_seconds", "outputs"}`; `null` means all texts in one call
    {"file": FILE, "save": TARGET}   answers all texts in one call, writes the answers to TARGET as JSON lines, and
                                     prints the measurements

`cpu_seconds` counts all threads of the process. A contender that cannot run here prints `{"unavailable": REASON}`.

The interpreter may have an earlier release installed. Therefore this program imports only the modules of this folder
and the packages that the loader of the job needs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from .contenders import Job, Unavailable
from .tasks import Run, task_module


def main(mode: str, job: str, *files: str) -> None:
    """Run the worker in the mode `once` or `serve`."""
    channel = _claim_stdout()
    chosen = Job(**json.loads(job))
    task = task_module(chosen.task)
    texts = [_read(Path(file)) for file in files]
    started = time.perf_counter()
    try:
        run = _load(task, chosen)
    except Unavailable as error:
        _say(channel, {"unavailable": str(error)})
        return
    if mode == "serve":
        _say(channel, {"load_s": time.perf_counter() - started})
        _serve(task, run, channel)
    else:
        _say(channel, {"answers": len(run(texts[0]))})


def _load(task: ModuleType, job: Job) -> Run:
    try:
        run: Run = task.LOADERS[job.loader](job)
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed: pip install 'onnx-ml-bridge[{task.EXTRAS}]'") from error
    return run


def _serve(task: ModuleType, run: Run, channel: TextIO) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        texts = _read(Path(request["file"]))
        size = request.get("batch") or len(texts)
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        started, used = time.perf_counter(), time.process_time()
        answers = [run(batch) for batch in batches]
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
        lines = [task.to_json(answer) for batch in answers for answer in batch]
        if "save" in request:
            Path(request["save"]).write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
        outputs = sum(map(task.count_outputs, lines))
        _say(channel, {"seconds": seconds, "cpu_seconds": cpu_seconds, "outputs": outputs})


def _read(path: Path) -> list[str]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _claim_stdout() -> TextIO:
    """Return a stream to standard output, and redirect everything else that is printed there to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _say(channel: TextIO, answer: dict[str, Any]) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
