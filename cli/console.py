"""Output of the command: tables, JSON, error messages and exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..artifacts.errors import ArtifactError, DependencyError, OnnxMlBridgeError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_DEPENDENCY, EXIT_ERROR = range(6)
EXIT_CODES = (
    "Exit status: 0 success; 1 some lines or models failed; 2 invalid usage; 3 invalid artifact; "
    "4 missing dependency; 5 any other error."
)

# Tables have the width of the terminal, or this many columns if the output is not a terminal
_WIDTH = None if sys.stdout.isatty() else 160

out = Console(highlight=False, width=_WIDTH)
err = Console(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Return untrusted text without markup; characters that are not printable are escaped."""
    return Text("".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text))


def print_json(value: Any) -> None:
    """Print a value to stdout as one line of JSON."""
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def reported_errors(*, as_json: bool = False) -> Iterator[None]:
    """Report exceptions of the package and `OSError` as an error message and an exit status."""
    try:
        yield
    except BrokenPipeError:
        sys.stderr.close()  # the program that reads the output has closed the pipe
        raise typer.Exit(EXIT_OK) from None
    except (OnnxMlBridgeError, OSError) as error:
        code = error.code if isinstance(error, OnnxMlBridgeError) else "io"
        # A file name that is not valid UTF-8 contains lone surrogates
        message = str(error).encode("utf-8", "backslashreplace").decode()
        if as_json:
            print_json({"ok": False, "error": {"code": code, "message": message}})
        err.print(Text.assemble((f"error[{code}]", "bold red"), ": ", plain(message)), soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from error


def _exit_code(error: Exception) -> int:
    if isinstance(error, ArtifactError):
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
