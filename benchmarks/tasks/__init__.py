"""One module of contenders per task, found by its name and imported when it is needed.

A task's module has:

    TITLE, EXTRAS, LIBRARIES     what titles call the task; the package's extras that its peers need; the libraries
                                 whose versions are recorded
    LOADERS                      functions from a `Job` to a `Run`, by the name of the loader
    to_json(answer)              one answer as a JSON object, with the keys that the crate's command prints
    count_outputs(line)          how much such an object holds, such as entities; 0 where counting means nothing
    add_options(parser)          adds the task's own options of the command line
    prepare(request)             a list of `Workload`s

Workers import it too, at the start of a process whose start is timed, and under earlier releases: at its top only the
standard library and light modules of this folder are imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

TASKS = (
    "sentence_embedding",
    "ner",
    "summarization",
)

# Texts of one call in, one answer for each of them out.
Run = Callable[[list[str]], Collection[Any]]


def task_module(name: str) -> ModuleType:
    """Return the module of a task."""
    return importlib.import_module(f"{__name__}.{name}")
