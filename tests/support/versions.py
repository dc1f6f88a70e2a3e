"""Versions of the valid artifacts, for tests that replace a model: another version number, or a defect."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from examples import VALID
from overlays import reseal

# float32 NaN in little-endian bytes
_NAN = b"\x00\x00\xc0\x7f"


def copy_of(name: str, target: Path) -> Path:
    """Copy a valid artifact."""
    return Path(shutil.copytree(VALID / name, target))


def version_of(
    name: str, target: Path, version: str = "2.0.0", changes: Mapping[str, Callable[[bytes], bytes]] | None = None
) -> Path:
    """Copy a valid artifact with another version number and changed files, sealed like a valid one."""
    folder = copy_of(name, target)
    for file, change in (changes or {}).items():
        (folder / file).write_bytes(change((folder / file).read_bytes()))
    reseal(folder, changes or (), version=version)
    return folder


def not_a_number(raw: bytes) -> bytes:
    """Return as many bytes of NaN: weights with which every output is NaN."""
    return _NAN * (len(raw) // 4)
