"""The progress of a download."""

from __future__ import annotations

from collections.abc import Callable

# A function that is called during a download with the number of bytes that are there, and that of all.
Report = Callable[[int, int], None]
