"""Entry of the command; every group of subcommands has a file of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from .build_command import build_command, export_command
from .console import EXIT_CODES, out
from .inspect import show_command, verify_command


def create_app(families: Iterable[Family] = FAMILIES) -> typer.Typer:
    """The command with the subcommands of the given families."""
    families = tuple(families)
    app = typer.Typer(
        name="onnx-ml-bridge",
        help=f"Turn PyTorch models into ONNX artifacts, prove them, and run them without PyTorch.\n\n{EXIT_CODES}",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback(invoke_without_command=True)(_main)
    app.command("build")(build_command(families))
    app.command("export")(export_command(families))
    app.command("show")(show_command(families))
    app.command("verify")(verify_command(families))
    # Families of one task may share a command
    for name, family in {family.command: family for family in families}.items():
        app.command(name)(family.module("cli").command)
    return app


def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Read the options that belong to no subcommand."""
    if version:
        from .. import __version__

        out.print(f"onnx-ml-bridge {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the installed command."""
    create_app()()
