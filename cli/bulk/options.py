"""The command line options of runs over a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .run import BulkOptions

_PANEL = "Files"
InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="Read a file instead of stdin: JSON lines, or Parquet (.parquet, extra [bulk]).",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Folder for the parts of the output, in the format of the input.",
        metavar="DIR",
        rich_help_panel=_PANEL,
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the run of the output folder.", rich_help_panel=_PANEL)
]
PartRowsOption = Annotated[
    int | None,
    typer.Option("--part-rows", help="Number of rows of a part.", metavar="N", min=1, rich_help_panel=_PANEL),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Address of a Ray cluster that runs the parts, or local (extra [ray]).",
        metavar="ADDRESS",
        rich_help_panel=_PANEL,
    ),
]
RayWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--ray-workers",
        help="Number of processes of the cluster. Default: all its CPUs but one, divided by --threads.",
        metavar="N",
        min=1,
        rich_help_panel=_PANEL,
    ),
]


def bulk_options(
    source: Path | None,
    output: Path | None,
    resume: bool,
    part_rows: int | None,
    ray: str | None,
    ray_workers: int | None,
    default_part_rows: int = 1024,
) -> BulkOptions | None:
    """Return the options of a run over a file; None if the command reads stdin.

    :raises typer.BadParameter: if an option requires another one.
    """
    if source is None:
        others = {"--output": output, "--resume": resume, "--part-rows": part_rows, "--ray": ray}
        if given := [name for name, value in {**others, "--ray-workers": ray_workers}.items() if value]:
            raise typer.BadParameter(f"{', '.join(given)} requires --input")
        return None
    if output is None:
        raise typer.BadParameter("--input requires --output")
    if ray is None and ray_workers is not None:
        raise typer.BadParameter("--ray-workers requires --ray")
    return BulkOptions(source, output, part_rows or default_part_rows, resume, ray, ray_workers)
