"""Errors of the operating system while an artifact is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ArtifactError


@contextmanager
def reading_errors() -> Iterator[None]:
    """Convert `OSError`, in a `with` statement or as a decorator: a file can vanish or change between two checks.

    :raises ArtifactError: with the code `io`.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError("io", str(error)) from error
