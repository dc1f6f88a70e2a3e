"""The subcommands `show` and `verify`: display and check an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from ..artifacts.checks import Artifact, read_artifact
from ..artifacts.facts import headline, headlines
from ..artifacts.family import Family
from ..runtime.verify import Progress, VerifyReport, verify
from .console import err, megabytes, out, plain, print_json, reported_errors, table
from .store.options import KeysOption, StoreOption
from .store.progress import pulled

ArtifactArgument = Annotated[
    Path, typer.Argument(help="Folder of the artifact, or store:NAME.", metavar="DIR|store:NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]


def show_command(families: tuple[Family, ...]) -> Callable[..., None]:
    """Create the function that runs the subcommand `show`."""

    def command(folder: ArtifactArgument, as_json: JsonOption = False, store: StoreOption = None) -> None:
        """Show the source, the properties and the variants of an artifact, with sizes and metrics.

        This checks the manifest, the list of files and their sizes. Use `verify` to check hashes too.
        """
        with reported_errors(as_json=as_json):
            artifact = read_artifact(pulled(folder, store=store), families)
            if as_json:
                print_json({"identity": artifact.identity, "manifest": artifact.manifest.to_json()})
            else:
                _print_artifact(artifact)

    return command


def verify_command(families: tuple[Family, ...]) -> Callable[..., None]:
    """Create the function that runs the subcommand `verify`."""

    def command(
        folder: ArtifactArgument,
        as_json: JsonOption = False,
        timeout: Annotated[
            float | None, typer.Option(help="Time limit in seconds. Default: none.", metavar="SECONDS")
        ] = None,
        device: Annotated[
            str, typer.Option(help="Device that runs the graphs, such as auto, cuda:0 or openvino:GPU.")
        ] = "cpu",
        variant: Annotated[
            str | None, typer.Option(help="Replay only this variant. Default: all.", metavar="VARIANT")
        ] = None,
        store: StoreOption = None,
        key: KeysOption = None,
    ) -> None:
        """Check the hash of every file and every graph, and replay the golden cases on this machine.

        The replay runs in a child process with limits on memory and time, because a malicious graph could exhaust them.
        It is stopped if it neither loads the graphs of a variant nor finishes a golden case within 120 seconds.
        """
        with reported_errors(as_json=as_json):
            keys = key or []
            root = pulled(folder, keys, store)
            with _progress_bar() as progress:
                report = verify(root, families, timeout, progress, device=device, variant=variant, keys=keys)
            if as_json:
                print_json({"ok": True, **report.to_json()})
            else:
                _print_report(report, read_artifact(root, families).family)

    return command


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Show a progress bar over the golden cases of each variant if stderr is a terminal."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("verifying {task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Bars(*columns, TimeElapsedColumn(), console=err, transient=True) as bars:
        task = bars.add_task("files", total=None)
        yield lambda variant, done, cases: bars.update(task, description=variant, completed=done, total=cases)


def _print_artifact(artifact: Artifact) -> None:
    manifest = artifact.manifest
    source = manifest.source
    facts = {
        "model": f"{manifest.name} {manifest.version}",
        "task": f"{manifest.task} (format {manifest.format_version}, revision {manifest.task_revision})",
        "engine": manifest.engine,
        "source": f"{source.kind}:{source.id}" + (f" at {source.revision}" if source.revision else ""),
        "license": source.license or "not stated by its source",
        "identity": artifact.identity,
        **artifact.family.facts(manifest),
        "measured on": f"{manifest.parity.texts} texts; {manifest.parity.machine.cpu}, "
        f"{manifest.parity.machine.threads} threads",
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(f"[bold]{name}[/]", plain(value))
    out.print(grid)
    out.print(_variants_table(artifact))


def _variants_table(artifact: Artifact) -> Table:
    family, figures = artifact.family, artifact.manifest.parity.variants
    titles = headlines(family, figures.values())
    rows = table("variant", "graphs", right=("size", *titles.values()))
    for name, variant in sorted(artifact.manifest.variants.items()):
        files = [graph.file for graph in variant.graphs.values()]
        cells = [headline(family, figures.get(name, {}), key) for key in titles]
        rows.add_row(name, ", ".join(files), megabytes(artifact.manifest.variant_bytes(name)), *cells)
    return rows


def _print_report(report: VerifyReport, family: Family) -> None:
    out.print(f"[bold green]verified[/] {report.name} {report.version}  {report.identity}", soft_wrap=True)
    out.print(f"{report.files} files, {megabytes(report.bytes)}, all hashes match")
    titles = headlines(family, [replay.figures for replay in report.variants.values()])
    rows = table("variant", right=("golden cases", *titles.values()))
    for name, replay in report.variants.items():
        rows.add_row(name, str(replay.cases), *(headline(family, replay.figures, key) for key in titles))
    out.print(rows)
