"""What an open model does and whether it works, told without a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .answers import Location
from .lane import LaneStatus
from .options import Task


class ModelState(StrEnum):
    """Whether the graphs of a model are loaded, and whether it works."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True)
class ModelStatus:
    """The status of an open model.

    `state` is `failed` if the last load or the last run failed because of the model. `last_success` is the time of the
    last successful run in seconds since 1970, None before it. `waiting` is the number of calls with runs that have not
    started, `running` the number of runs in progress. `resident_bytes` is the memory of the loaded graphs, as measured
    when they were loaded. `error` is the code of the last failure, None after a success.
    """

    name: str
    state: ModelState
    last_success: float | None
    waiting: int
    running: int
    resident_bytes: int
    error: str | None


@dataclass(frozen=True)
class Health:
    """Whether a model works, as far as that can be told without a run.

    `backend` is what answers its calls, `location` where it runs. `state` is that of the model; a server that cannot be
    reached, or refuses the key, is `failed`, and `error` is the code.
    """

    backend: str
    task: Task
    model: str
    location: Location
    state: ModelState
    error: str | None


class HasStatus(Protocol):
    """A lane, or another object that knows what the calls of a model do."""

    def status(self) -> LaneStatus:
        """Return what the calls do. Never waits for a run."""


def model_status(
    name: str, state: ModelState, resident_bytes: int, lane: HasStatus | None, load_error: str | None
) -> ModelStatus:
    """Return the status of a model in a state.

    :param lane: the lane of the model; None for a model without one.
    :param load_error: the code of the last load if it failed.
    """
    does = LaneStatus(0, 0, None, None) if lane is None else lane.status()
    error = load_error or does.error
    failed = error is not None and state != ModelState.CLOSED
    return ModelStatus(
        name,
        ModelState.FAILED if failed else state,
        does.last_success,
        does.waiting,
        does.running,
        resident_bytes,
        error,
    )
