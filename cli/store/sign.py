"""The subcommand `sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...artifacts.trust.keys import PASSWORD_VARIABLE
from ..console import out, plain, print_json, reported_errors
from .options import JsonOption


def sign_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the artifact.", metavar="DIR")],
    key: Annotated[
        Path, typer.Option(help=f"Private key in PEM (P-256). Its password: {PASSWORD_VARIABLE}.", metavar="FILE")
    ],
    as_json: JsonOption = False,
) -> None:
    """Sign an artifact: write a bundle of OpenSSF Model Signing to DIR.signatures, which `publish` uploads."""
    from ...artifacts.trust.signing import sign

    with reported_errors(as_json=as_json):
        bundle = sign(folder, key)
        if as_json:
            print_json({"ok": True, "bundle": str(bundle)})
        else:
            out.print("[bold green]signed[/]", plain(str(bundle)), soft_wrap=True)
