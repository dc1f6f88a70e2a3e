"""Errors of the libraries that load and run an original model: torch, transformers, sentence-transformers, spaCy."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import BuildError, OnnxMlBridgeError
from .family import PACKAGE


@contextmanager
def original_errors(library: str) -> Iterator[None]:
    """Convert exceptions of a library that runs the original, in a `with` statement or as a decorator.

    The libraries raise exceptions of any class for a model that is damaged or unusual. Exceptions that the code of this
    package raises are defects; they are not converted.

    :param library: the name of the library for the error message.
    :raises BuildError: with the code `source`.
    """
    try:
        yield
    except (OnnxMlBridgeError, OSError):
        raise
    except Exception as error:
        if is_own(error):
            raise
        problem = f"{library} fails on the original model: {type(error).__name__}: {error}"
        raise BuildError("source", problem) from error


def is_own(error: BaseException) -> bool:
    """Return whether the code of this package raised an exception, or the first exception that caused it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    frames = list(traceback.walk_tb(error.__traceback__))
    name = str(frames[-1][0].f_globals.get("__name__")) if frames else ""
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")
