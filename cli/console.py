"""Output of the command: tables, JSON, error messages and exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..artifacts.errors import ARTIFACT_CODES, ArtifactError, DependencyError, OnnxMlBridgeError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_DEPENDENCY, EXIT_ERROR, EXIT_STOPPED = range(7)
EXIT_CODES = (
    "Exit status: 0 success; 1 some lines or models failed; 2 invalid usage; 3 invalid artifact; "
    "4 missing dependency; 5 any other error; 6 stopped by a signal."
)

# Tables have the width of the terminal, or this many columns if the output is not a terminal
_WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else 160


class _Output(Console):
    """A console that raises `BrokenPipeError` if the program that reads the output has closed the pipe."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error again: the base class ends the process with the exit status 1."""
        raise  # this method is called by the handler of the exception


class _Messages(Console):
    """The console for messages. One that cannot be written is lost, and does not change the exit status."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects if they can be written."""
        with suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Go on: the base class ends the process with the exit status 1."""


out = _Output(highlight=False, width=_WIDTH)
err = _Messages(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Return untrusted text without markup; characters that are not printable are escaped."""
    return Text("".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text))


def print_json(value: Any) -> None:
    """Print a value to stdout as one line of JSON."""
    write_output(orjson.dumps(value) + b"\n")


def write_output(data: bytes) -> None:
    """Write bytes to stdout and flush it; a process without stdout writes nothing.

    :raises OSError: if stdout cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def reported_errors(*, as_json: bool = False) -> Iterator[None]:
    """Report exceptions of the package and `OSError` as an error message and an exit status."""
    try:
        yield
    except BrokenPipeError:  # the program that reads the output has closed the pipe
        _drop_unwritten_output()
        raise typer.Exit(EXIT_OK) from None
    except (OnnxMlBridgeError, OSError) as error:
        code = error.code if isinstance(error, OnnxMlBridgeError) else "io"
        # A file name that is not valid UTF-8 contains lone surrogates
        message = str(error).encode("utf-8", "backslashreplace").decode()
        if as_json:
            with suppress(OSError):  # nobody reads the output
                print_json({"ok": False, "error": {"code": code, "message": message}})
        _drop_unwritten_output()
        err.print(Text.assemble((f"error[{code}]", "bold red"), ": ", plain(message)), soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from error


def _drop_unwritten_output() -> None:
    """Connect stdout to the null device if it cannot be written.

    Otherwise Python fails again when it writes the rest of the output at the end of the process.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _exit_code(error: Exception) -> int:
    if isinstance(error, ArtifactError) and error.code in ARTIFACT_CODES:
        return EXIT_REFUSED
    return EXIT_DEPENDENCY if isinstance(error, DependencyError) else EXIT_ERROR


def table(*left: str, right: tuple[str, ...] = ()) -> Table:
    """Return a table without rows: first the left-aligned columns `left`, then the right-aligned columns `right`."""
    result = Table(*left, header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    for column in right:
        result.add_column(column, justify="right", no_wrap=True)
    return result


def megabytes(size: int) -> str:
    """Format a size in bytes as kB or MB, such as `22.9 MB`."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
