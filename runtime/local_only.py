"""`local_only`: nothing is opened that would leave this machine."""

from __future__ import annotations

import os

from ..artifacts.errors import BackendError

VARIABLE = "ONNX_ML_BRIDGE_LOCAL_ONLY"


def is_local_only(option: bool) -> bool:
    """Return whether models must be on this machine: by the option, or by a value of the variable other than 0."""
    return option or os.environ.get(VARIABLE, "") not in ("", "0")


def not_local(what: str, *, expected: str, actual: object) -> BackendError:
    """Return the error for something that is not on this machine."""
    problem = f"local_only is set, and {what} is not on this machine"
    return BackendError("not_local", problem, expected=expected, actual=actual)
