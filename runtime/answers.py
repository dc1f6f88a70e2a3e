"""What every answer says of where it comes from: the backend, the fallbacks before it, and the tokens it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# The name of the backend of ONNX artifacts in answers
ONNX = "onnx"


class Location(StrEnum):
    """Where a model runs: in this process, in another one of this machine, or somewhere else."""

    PROCESS = "process"
    MACHINE = "machine"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Fallback:
    """A backend that gave no answer before another one did: its name, and the code of its error."""

    backend: str
    code: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a server counted: those it read and those it generated."""

    prompt_tokens: int
    completion_tokens: int


def total_usage(usages: Iterable[Usage | None]) -> Usage | None:
    """Return the sum of what servers counted; None if none of them did."""
    counted = [usage for usage in usages if usage is not None]
    if not counted:
        return None
    return Usage(sum(each.prompt_tokens for each in counted), sum(each.completion_tokens for each in counted))
