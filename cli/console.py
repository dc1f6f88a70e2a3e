"""How the command speaks: to people on a terminal, to machines in JSON, and by its exit status."""

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
    "Exit status: 0 done; 1 done, but some lines or models failed; 2 wrong usage; 3 an artifact was refused; "
    "4 something must be installed first; 5 any other error."
)

# Tables keep their columns where output is no terminal; on one they take its width.
_WIDTH = None if sys.stdout.isatty() else 160

out = Console(highlight=False, width=_WIDTH)
err = Console(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Text of unknown origin: no markup, and nothing that would steer a terminal."""
    return Text("".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text))


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def reported_errors(*, as_json: bool = False) -> Iterator[None]:
    """Turn the package's errors into a message and an exit status."""
    try:
        yield
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; nothing more to say
        raise typer.Exit(EXIT_OK) from None
    except (OnnxMlBridgeError, OSError) as error:
        code = error.code if isinstance(error, OnnxMlBridgeError) else "io"
        # A name that is no UTF-8 stands in a message as a lone surrogate
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
    """An empty table: columns of words, then columns of figures."""
    result = Table(*left, header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    for column in right:
        result.add_column(column, justify="right", no_wrap=True)
    return result


def megabytes(size: int) -> str:
    """A size for people: 22.9 MB."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
