"""When an artifact in a cache was used last: the modification time of its folder, so that its files stay unchanged."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .layout import ARTIFACTS, LOCKS, MODELS


def note_use(folder: Path) -> None:
    """Note that an artifact is used now if its folder is in a cache; other folders stay as they are."""
    folder = folder.absolute()
    if folder.parent.name == ARTIFACTS and _is_cache(folder.parents[1]):
        with suppress(OSError):  # the cache can be read-only, or have removed the artifact
            os.utime(folder)


def _is_cache(root: Path) -> bool:
    """Whether a folder is a cache: the locks of its downloads are there, and unlike a store it has no models."""
    return (root / LOCKS).is_dir() and not (root / MODELS).exists()
