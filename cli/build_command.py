"""The subcommands `build` (all models of models.toml) and `export` (one model given on the command line)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..artifacts.errors import BuildError
from ..artifacts.family import Family
from ..export.requirements import require_extra
from .console import EXIT_FAILED, err, megabytes, out, plain, print_json, reported_errors, table
from .options import known_options, with_options

if TYPE_CHECKING:  # these modules require the extra [export]
    from .build import Built
    from .config import ModelConfig

_STAGES = ("fetch", "export", "quantize", "parity", "seal")

OutOption = Annotated[
    Path, typer.Option("--out", help="Folder in which one artifact per model is created.", metavar="DIR")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Build models even if they are up to date.")]


def build_command(families: tuple[Family, ...]) -> Callable[..., None]:
    """Create the function that runs the subcommand `build`."""

    def command(
        models: Annotated[Path, typer.Argument(help="The file that lists the models.", metavar="MODELS.toml")],
        out_folder: OutOption = Path("dist"),
        only: Annotated[
            list[str] | None, typer.Option("--only", help="Build only this model. Can be repeated.", metavar="NAME")
        ] = None,
        force: ForceOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Build the models of a file: export, quantize, compare with the original, seal.

        Models that are up to date are skipped. If one model fails, the others are still built. Each model has a report
        at DIR/.reports/NAME/report.html.
        """
        with reported_errors(as_json=as_json):
            require_extra("export")
            from .config import read_models

            known = read_models(models, families)
            if unknown := sorted(set(only or []) - {model.name for model in known}):
                raise BuildError("config", f"--only: {models} has no model {', '.join(unknown)}")
            chosen = [model for model in known if not only or model.name in only]
            _build(chosen, out_folder, families, force=force, as_json=as_json)

    return command


def export_command(families: tuple[Family, ...]) -> Callable[..., None]:
    """Create the function that runs the subcommand `export`, which has the options of every family."""
    fields = known_options(families)

    def command(
        source: Annotated[str, typer.Argument(help="hub:ID@REVISION, path:DIR or package:MODULE[/SUB/DIR].")],
        task: Annotated[str, typer.Option(help="The task of the model.")],
        out_folder: Annotated[Path, typer.Option("--out", help="Folder of the new artifact.", metavar="DIR")],
        version: Annotated[str, typer.Option("--artifact-version", help="Version of the artifact.")] = "1.0.0",
        variant: Annotated[
            list[str] | None, typer.Option(help="fp32, int8 or fp16. Can be repeated. Default: fp32 and int8.")
        ] = None,
        calibration: Annotated[
            Path | None, typer.Option(help="File with one calibration text per line.", metavar="FILE")
        ] = None,
        force: ForceOption = False,
        as_json: JsonOption = False,
        **options: Any,
    ) -> None:
        """Build one model, with the same stages and gates as `build`."""
        with reported_errors(as_json=as_json):
            require_extra("export")
            from .config import ModelConfig, validate

            given = {name: value for name, value in options.items() if value != fields[name].default}
            data: dict[str, Any] = {
                "name": out_folder.absolute().name,
                "version": version,
                "source": source,
                "task": task,
                "calibration": calibration,
                "options": given,
            }
            data |= {"variants": variant} if variant else {}
            model = validate(ModelConfig, data, "the command line", families)
            _build([model], out_folder.absolute().parent, families, force=force, as_json=as_json)

    command.__doc__ = f"{command.__doc__}\n\n    Tasks: {', '.join(_tasks(families))}."
    return with_options(command, fields)


def _tasks(families: tuple[Family, ...]) -> list[str]:
    return list(dict.fromkeys(family.task for family in families))


def _build(
    models: list[ModelConfig], folder: Path, families: tuple[Family, ...], *, force: bool, as_json: bool
) -> None:
    _quiet_libraries()
    from .build import build_all

    with _progress_bars(len(models)) as progress:
        results = build_all(models, folder, progress, force=force, families=families)
    if as_json:
        print_json(
            {"ok": all(result.error is None for result in results), "models": [_to_json(result) for result in results]}
        )
    else:
        _print_results(results)
    if any(result.error for result in results):
        raise typer.Exit(EXIT_FAILED)


def _to_json(result: Built) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name != "headlines"}


@contextmanager
def _progress_bars(models: int) -> Iterator[Callable[[ModelConfig], Callable[[str], None]]]:
    """Show one progress bar over the stages of all models; print one line per stage if stderr is not a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[stage]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=models * len(_STAGES), stage="")
        begun: list[str] = []

        def begin(model: ModelConfig) -> Callable[[str], None]:
            begun.append(model.name)
            return lambda stage: enter(model.name, stage)

        def enter(name: str, stage: str) -> None:
            done = (len(begun) - 1) * len(_STAGES) + _STAGES.index(stage)
            bars.update(task, description=name, completed=done, stage=stage)
            if not err.is_terminal:
                err.print(f"{name}: {stage}")

        yield begin


def _print_results(results: list[Built]) -> None:
    rows = table("model", "status", "source", "variant", "compared with the original", right=("size", "seconds"))
    for result in results:
        _add_rows(rows, result)
    out.print(rows)
    for result in results:
        if result.error:
            problem = f": error[{result.error['code']}]: "
            err.print(Text.assemble((result.name, "bold red"), problem, plain(result.error["message"])), soft_wrap=True)
        else:
            out.print(f"{result.name}: {result.path}  (report: {result.report})", soft_wrap=True)


def _add_rows(rows: Table, result: Built) -> None:
    color = {"built": "green", "up to date": "cyan", "failed": "red"}[result.status]
    first = [result.name, f"[{color}]{result.status}[/]", escape(result.source)]
    seconds = f"{result.seconds:.1f}"
    if not result.bytes:
        rows.add_row(*first, "", "", "", seconds)
    for row, (variant, size) in enumerate(result.bytes.items()):
        rows.add_row(
            *(first if row == 0 else ["", "", ""]),
            variant,
            result.headlines[variant],
            megabytes(size),
            seconds if row == 0 else "",
        )


def _quiet_libraries() -> None:
    """Disable the progress bars and the log messages of transformers and other libraries."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
