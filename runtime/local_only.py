"""`local_only`: nothing is opened that would leave this machine."""

from __future__ import annotations

import os

from ..artifacts.errors import BackendError
from ..artifacts.store.locate import StrPath, is_name_in_store, store_address

VARIABLE = "ONNX_ML_BRIDGE_LOCAL_ONLY"


def is_local_only(option: bool) -> bool:
    """Return whether models must be on this machine: by the option, or by a value of the variable other than 0."""
    return option or os.environ.get(VARIABLE, "") not in ("", "0")


def not_local(what: str, *, expected: str, actual: object) -> BackendError:
    """Return the error for something that is not on this machine."""
    problem = f"local_only is set, and {what} is not on this machine"
    return BackendError("not_local", problem, expected=expected, actual=actual)


def check_local_store(path: StrPath, store: StrPath | None = None, *, local_only: bool = False) -> None:
    """Check that a model is not pulled from a store that is not a folder, if models must be on this machine.

    :param path: a path, or a name in a store.
    :param store: the address of the store; None is the one in ONNX_ML_BRIDGE_STORE.
    :param local_only: the option of the bridge; the variable demands it too.
    :raises BackendError: with the code `not_local`.
    :raises ConfigError: if there is no store.
    """
    if not is_local_only(local_only) or not is_name_in_store(path):
        return
    scheme, separator, _ = os.fspath(store_address(store)).partition("://")
    if separator:
        raise not_local("a store", expected="a folder", actual=scheme)
