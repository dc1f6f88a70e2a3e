"""Finds the folder of an artifact that is named by its path or by its name in a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from ..errors import ConfigError
from ..trust.keys import PublicKey
from .progress import Report
from .spec import PREFIX, Spec

STORE_VARIABLE = "ONNX_ML_BRIDGE_STORE"
StrPath: TypeAlias = str | os.PathLike[str]


def is_name_in_store(path: StrPath) -> bool:
    """Whether a path is a name in a store: it begins with `store:`."""
    text = os.fspath(path)
    return isinstance(text, str) and text.startswith(PREFIX)


def store_address(address: StrPath | None = None) -> StrPath:
    """Return the address of a store; None is the one in ONNX_ML_BRIDGE_STORE.

    :raises ConfigError: if there is none.
    """
    found = address or os.environ.get(STORE_VARIABLE)
    if not found:
        expected = f"the address of a store, here or in {STORE_VARIABLE}"
        raise ConfigError("store", expected=expected, actual="none")
    return found


def local_folder(
    path: StrPath,
    store: StrPath | None = None,
    *,
    identity: str | None = None,
    report: Report | None = None,
    keys: Sequence[PublicKey] = (),
) -> StrPath:
    """Return a path as it is, or the folder of the artifact with a name in a store, which is pulled if necessary.

    The files of an artifact that is there are not hashed: whoever opens it does so.

    :param store: the address of the store; None is the one in ONNX_ML_BRIDGE_STORE.
    :param identity: pins the artifact if the name does not.
    :param report: is called during a download with the number of bytes that are there, and that of all.
    :param keys: an artifact of a store, and the tag that names it, must be signed by one of them.
    :raises StoreError: if the store has no such artifact, or cannot be read.
    :raises ArtifactError: with the code of the first check that the artifact fails.
    """
    if not is_name_in_store(path):
        return path
    from .addresses import open_backend
    from .cache import Cache, is_offline
    from .pull import pull

    spec, reader = Spec.parse(os.fspath(path)).pinned(identity), open_backend(store_address(store))
    return pull(reader, spec, Cache(), offline=is_offline(), report=report, is_checked_later=True, keys=keys).root
