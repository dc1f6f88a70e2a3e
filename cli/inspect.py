"""`show` and `verify`: what an artifact says of itself, and whether that holds here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..artifacts.checks import Artifact, read_artifact
from ..runtime.replay import VerifyReport, verify
from .console import megabytes, out, plain, print_json, reported_errors, table

ArtifactArgument = Annotated[Path, typer.Argument(help="The artifact's folder.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]


def show_command(folder: ArtifactArgument, as_json: JsonOption = False) -> None:
    """Show what an artifact is: source, variants with their size and exactness, limits, prompts.

    Files are counted and measured, not hashed; `verify` does that.
    """
    with reported_errors(as_json=as_json):
        artifact = read_artifact(folder)
        if as_json:
            print_json({"identity": artifact.identity, "manifest": asdict(artifact.manifest)})
        else:
            _print_artifact(artifact)


def verify_command(folder: ArtifactArgument, as_json: JsonOption = False) -> None:
    """Hash every file, check every graph, and replay the golden cases on this CPU.

    The replay happens in a child process with limits, since loading a graph is no security boundary.
    """
    with reported_errors(as_json=as_json):
        report = verify(folder)
        if as_json:
            print_json({"ok": True, **asdict(report)})
        else:
            _print_report(report)


def _print_artifact(artifact: Artifact) -> None:
    manifest = artifact.manifest
    source = manifest.source
    facts = {
        "model": f"{manifest.name} {manifest.version}",
        "task": f"{manifest.task} (format {manifest.format_version}, revision {manifest.task_revision})",
        "source": f"{source.kind}:{source.id}" + (f" at {source.revision}" if source.revision else ""),
        "licence": source.license or "not named by its source",
        "identity": artifact.identity,
        "tokens": f"up to {manifest.tokenizer.max_tokens}, cut on the {manifest.tokenizer.truncation_side}",
        "vectors": f"{manifest.embedding.dim} float32, {manifest.embedding.similarity}",
        "pooling": ", ".join(manifest.embedding.pooling),
        "prompts": ", ".join(name for name, prompt in manifest.embedding.prompts.items() if prompt.text) or "none",
        "measured on": f"{manifest.parity.machine.cpu}, {manifest.parity.machine.threads} threads",
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(f"[bold]{name}[/]", plain(value))
    out.print(grid)
    out.print(_variants_table(artifact))


def _variants_table(artifact: Artifact) -> Table:
    rows = table("variant", "graph", right=("size", "max abs", "cosine min", "cosine mean"))
    for name, variant in sorted(artifact.manifest.variants.items()):
        figures = artifact.manifest.parity.variants.get(name, {})
        cells = [f"{figures[key]:{form}}" if key in figures else "" for key, form in
                 (("max_abs", ".1e"), ("cosine_min", ".5f"), ("cosine_mean", ".5f"))]  # fmt: skip
        files = [graph.file for graph in variant.graphs.values()]
        rows.add_row(name, ", ".join(files), megabytes(artifact.manifest.variant_bytes(name)), *cells)
    return rows


def _print_report(report: VerifyReport) -> None:
    out.print(f"[bold green]verified[/] {report.name} {report.version}  {report.identity}", soft_wrap=True)
    out.print(f"{report.files} files, {megabytes(report.bytes)}, every hash as listed")
    rows = table("variant", right=("golden cases", "max abs", "cosine min"))
    for name, figures in report.variants.items():
        rows.add_row(name, str(figures.cases), f"{figures.max_abs:.1e}", f"{figures.cosine_min:.6f}")
    out.print(rows)
