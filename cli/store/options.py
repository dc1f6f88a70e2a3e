"""Options that the subcommands of stores share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from ...artifacts.store.locate import STORE_VARIABLE

StoreOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--store", help=f"Folder or URL of the store. Default: {STORE_VARIABLE}.", metavar="ADDRESS"),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
NameArgument: TypeAlias = Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")]
SpecArgument: TypeAlias = Annotated[
    str, typer.Argument(help="NAME[@VERSION|@TAG][#sha256:IDENTITY]; without @, the tag latest.", metavar="SPEC")
]
