"""The command line options that are the same in all subcommands that run a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..runtime.options import MAX_THREADS

ModelOption = Annotated[
    Path, typer.Option("--model", help="Folder of the artifact, or its name in a store.", metavar="DIR|store:NAME")
]
VariantOption = Annotated[
    str, typer.Option("--variant", help="fp32, int8, fp16, or auto, which chooses by the device.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Number of threads of ONNX Runtime.", min=1, max=MAX_THREADS)
]
TextLimitOption = Annotated[int, typer.Option("--text-limit", help="Maximum size of a text in bytes of UTF-8.", min=1)]
