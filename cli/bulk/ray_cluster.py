"""Run the parts of a file on a Ray cluster, with the extra [ray]: each worker process holds the model."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import Any

from ...artifacts.errors import DependencyError, OnnxMlBridgeError
from .part import failed_rows, process_part
from .run import Executor, Run
from .source import open_source

# Limit on the units of work that Ray schedules; each has one part or several
_MAX_BLOCKS = 4096


class PartWorker:
    """An actor of Ray: opens the model once, and processes parts."""

    def __init__(self, run: Run) -> None:
        """Open the model and the input."""
        self._run = run
        self._task = run.open_rows(run.settings)
        self._source = open_source(run.contents, run.keys)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Process the parts of a batch; returns a row for each, with the code and the message of its error."""
        rows = [self._process(int(part)) for part in batch["part"]]
        return {key: [row[key] for row in rows] for key in ("part", "failed", "code", "message")}

    def _process(self, part: int) -> dict[str, Any]:
        run, failed, code, message = self._run, 0, "", ""
        try:
            if run.path(part).exists():  # finished by a worker that died before it said so
                failed = failed_rows(run.path(part))
            else:
                failed = process_part(self._task, self._source, run.contents, part, run.output)
        except (OnnxMlBridgeError, OSError) as error:
            code, message = getattr(error, "code", "io"), str(error)
        return {"part": part, "failed": failed, "code": code, "message": message}


def ray_executor(run: Run, address: str, workers: int | None) -> Executor:
    """Connect to a cluster, and return a function that processes parts on it.

    Ray starts a worker that dies again, and gives its parts to the new one. A part that is written twice has the same
    bytes, and gets its name by a rename.

    :param workers: the number of worker processes; None uses all processors of the cluster but one.
    :raises DependencyError: if ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        hint = "Install it: pip install 'onnx-ml-bridge[ray]'"
        raise DependencyError("--ray requires ray[data]", hint=hint) from error

    def execute(parts: Iterable[int]) -> Generator[tuple[int, int], None, None]:
        missing = list(parts)
        if not missing:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            ray.init(address=None if address == "local" else address, log_to_driver=False)
        try:
            for row in _dataset(run, missing, workers).iter_rows():
                if row["code"]:
                    raise OnnxMlBridgeError(row["code"], row["message"])
                yield int(row["part"]), int(row["failed"])
        finally:
            ray.shutdown()

    return execute


def _dataset(run: Run, parts: list[int], workers: int | None) -> Any:
    import ray
    import ray.data

    threads = run.settings.threads or 1
    if workers is None:
        # One processor stays free: a cluster whose processors are all taken by actors runs no other task
        workers = max(1, (int(ray.cluster_resources().get("CPU", 1)) - 1) // threads)
    ray.data.DataContext.get_current().enable_progress_bars = False
    blocks = min(len(parts), _MAX_BLOCKS)
    return ray.data.from_items([{"part": part} for part in parts], override_num_blocks=blocks).map_batches(
        PartWorker,
        fn_constructor_args=(run,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
        num_cpus=threads,
        max_restarts=-1,
        max_task_retries=-1,
    )
