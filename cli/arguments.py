"""The arguments that every command which runs a model has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[Path, typer.Option("--model", help="The artifact's folder.", metavar="DIR")]
VariantOption = Annotated[str, typer.Option("--variant", help="fp32, int8, or auto: by instruction set.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Threads of one run.", min=1)]
TextLimitOption = Annotated[int, typer.Option("--text-limit", help="Largest text in bytes of UTF-8.", min=1)]
