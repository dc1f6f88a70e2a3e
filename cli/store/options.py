"""Options that the subcommands of stores share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ...artifacts.store.locate import STORE_VARIABLE
from ...artifacts.trust.keys import PASSWORD_VARIABLE

StoreOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--store", help=f"Folder or URL of the store. Default: {STORE_VARIABLE}.", metavar="ADDRESS"),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
NameArgument: TypeAlias = Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")]
KeysOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="Public key in PEM; repeatable. What none of the keys signed is refused.", metavar="FILE"
    ),
]
SigningKeyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key", help=f"Private key in PEM that signs tags. Its password: {PASSWORD_VARIABLE}.", metavar="FILE"
    ),
]
SpecArgument: TypeAlias = Annotated[
    str, typer.Argument(help="NAME[@VERSION|@TAG][#sha256:IDENTITY]; without @, the tag latest.", metavar="SPEC")
]
