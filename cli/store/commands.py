"""Adds the subcommands of stores to the application."""

from __future__ import annotations

import typer

from .files import pack_command, sbom_command
from .pull import pull_command
from .reading import list_command, updates_command
from .sign import sign_command
from .writing import gc_command, promote_command, publish_command, rollback_command, yank_command

_PANEL = "Stores"


def add_store_commands(app: typer.Typer) -> None:
    """Add the subcommands to an application."""
    for name, command in (
        ("sign", sign_command),
        ("publish", publish_command),
        ("pull", pull_command),
        ("list", list_command),
        ("updates", updates_command),
        ("promote", promote_command),
        ("rollback", rollback_command),
        ("yank", yank_command),
        ("gc", gc_command),
        ("pack", pack_command),
        ("sbom", sbom_command),
    ):
        app.command(name, rich_help_panel=_PANEL)(command)
