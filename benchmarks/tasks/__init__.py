"""The tasks: one module per task, which defines its contenders and workloads and is imported by name when needed.

The module of a task has:

    TITLE                 the name of the task in titles
    EXTRAS                the extras of the package that the contenders require
    LIBRARIES             the libraries whose versions are recorded
    LOADERS               functions that load a `Job` and return a `Run`, by the name of the loader
    to_json(answer)       returns an answer as a JSON object with the keys that the Rust command prints
    count_outputs(line)   returns the number of outputs in such an object, such as entities, or 0
    add_options(parser)   adds the task's own command line options
    prepare(request)      returns the `Workload`s

Workers, whose start is timed, also import the module of a task, possibly with an earlier release installed. Therefore
it imports only the standard library and small modules of this folder at its top.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..contenders import Job

TASKS = (
    "sentence_embedding",
    "ner",
    "summarization",
    "rerank",
)

# A function that accepts the texts of one call and returns one answer per text. For the task `rerank`, the texts are
# objects with a query and documents.
Run = Callable[[list[Any]], Collection[Any]]


def open_bridge(job: Job, task: str) -> Any:
    """Open the model of a job as a bridge. The process may have an earlier release of this project installed.

    :param task: the name of the task in the API.
    """
    import onnx_ml_bridge
    from onnx_ml_bridge import OnnxMlBridge

    if not hasattr(onnx_ml_bridge, "Model"):  # 0.1.0 had an argument for each task
        return OnnxMlBridge.open(variant=job.variant, threads=job.threads, **{task: job.source})
    model = onnx_ml_bridge.Model(job.source, variant=job.variant)
    return OnnxMlBridge.open(model, options=onnx_ml_bridge.BridgeOptions(threads=job.threads))


def task_module(name: str) -> ModuleType:
    """Return the module of a task."""
    return importlib.import_module(f"{__name__}.{name}")
