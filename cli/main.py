"""Entry of the command; every group of subcommands has a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from .build_command import build_command, export_command
from .console import EXIT_CODES, out
from .embed import embed_command
from .inspect import show_command, verify_command
from .ner import ner_command
from .summarize import summarize_command

app = typer.Typer(
    name="onnx-ml-bridge",
    help=f"Turn PyTorch models into ONNX artifacts, prove them, and run them without PyTorch.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("build")(build_command)
app.command("export")(export_command)
app.command("show")(show_command)
app.command("verify")(verify_command)
app.command("embed")(embed_command)
app.command("ner")(ner_command)
app.command("summarize")(summarize_command)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    """Carry the options that belong to no subcommand."""
    if version:
        from .. import __version__

        out.print(f"onnx-ml-bridge {__version__}")
        raise typer.Exit


def run() -> None:
    """What the installed command calls."""
    app()
