"""The command line options of runs over a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .run import BulkOptions

_PANEL = "Files"
_InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="Read a file instead of stdin: JSON lines, or Parquet (.parquet, extra [bulk]).",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
_OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Folder for the parts of the output, in the format of the input.",
        metavar="DIR",
        rich_help_panel=_PANEL,
    ),
]
_ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the run of the output folder.", rich_help_panel=_PANEL)
]
_PartRowsOption = Annotated[
    int | None,
    typer.Option("--part-rows", help="Number of rows of a part.", metavar="N", min=1, rich_help_panel=_PANEL),
]
_RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Address of a Ray cluster that runs the parts, or local (extra [ray]).",
        metavar="ADDRESS",
        rich_help_panel=_PANEL,
    ),
]
_RayWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--ray-workers",
        help="Number of processes of the cluster. Default: all its CPUs but one, divided by --threads.",
        metavar="N",
        min=1,
        rich_help_panel=_PANEL,
    ),
]


# The type and the default of every option, by the name of its parameter
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "source": (_InputOption, None),
    "output": (_OutputOption, None),
    "resume": (_ResumeOption, False),
    "part_rows": (_PartRowsOption, None),
    "ray": (_RayOption, None),
    "ray_workers": (_RayWorkersOption, None),
}


def with_files(part_rows: int = 1024) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter `files` of a command, the options of a run over a file, with command line options.

    :param part_rows: the default number of rows of a part.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != "files"]
        kind = inspect.Parameter.KEYWORD_ONLY
        options = [
            inspect.Parameter(name, kind, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
        ]

        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = {name: values.pop(name) for name in _OPTIONS}
            command(**values, files=_bulk_options(**given, default_part_rows=part_rows))

        wrapped.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _bulk_options(
    source: Path | None,
    output: Path | None,
    resume: bool,
    part_rows: int | None,
    ray: str | None,
    ray_workers: int | None,
    default_part_rows: int,
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
