"""The entry point of the command `onnx-ml-bridge`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from .build_command import build_command, export_command
from .console import EXIT_CODES, out
from .inspect import show_command, verify_command
from .store.pull import pull_command


def create_app(families: Iterable[Family] = FAMILIES) -> typer.Typer:
    """Return the command line application with the subcommands of the given families."""
    families = tuple(families)
    app = typer.Typer(
        name="onnx-ml-bridge",
        help=f"Export PyTorch and spaCy models as ONNX artifacts, verify them, and run them.\n\n{EXIT_CODES}",
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
    app.command("pull")(pull_command)
    # Each subcommand is added once, although several families of one task can share it
    for name, family in {family.command: family for family in families}.items():
        app.command(name)(family.module("cli").command)
    return app


def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Handle the options of the command itself."""
    if version:
        from .. import __version__

        out.print(f"onnx-ml-bridge {__version__}")
        raise typer.Exit


def run() -> None:
    """Run `onnx-ml-bridge` with the command line arguments of the process."""
    create_app()()
