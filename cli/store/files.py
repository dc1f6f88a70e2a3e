"""The subcommands `pack` and `sbom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...artifacts.checks import read_artifact
from ..console import megabytes, out, plain, print_json, reported_errors, write_output
from .options import JsonOption

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the artifact.", metavar="DIR")]


def pack_command(
    folder: FolderArgument,
    file: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE.tar")],
    as_json: JsonOption = False,
) -> None:
    """Write an artifact and its signatures to one file, which `pull FILE.tar` adds to the cache of another machine.

    The same artifact gives the same bytes.
    """
    with reported_errors(as_json=as_json):
        from ...artifacts.store.packing import pack

        artifact = pack(folder, file)
        if as_json:
            print_json({"ok": True, "identity": artifact.identity, "bytes": file.stat().st_size})
        else:
            out.print("[bold green]packed[/]", plain(f"{file}  {megabytes(file.stat().st_size)}"), soft_wrap=True)


def sbom_command(folder: FolderArgument) -> None:
    """Print what an artifact was made of as a CycloneDX ML-BOM in JSON."""
    with reported_errors():
        from ...artifacts.sbom import sbom

        write_output(sbom(read_artifact(folder)))
