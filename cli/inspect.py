"""`show` and `verify`: what an artifact says of itself, and whether that holds here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..artifacts.checks import Artifact, read_artifact
from ..artifacts.constants import NER, SUMMARIZATION
from ..artifacts.facts import headline, headlines, ner_facts, summary_facts
from ..artifacts.manifest import Manifest, section
from ..runtime.verify import VerifyReport, verify
from .console import megabytes, out, plain, print_json, reported_errors, table

ArtifactArgument = Annotated[Path, typer.Argument(help="The artifact's folder.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]


def show_command(folder: ArtifactArgument, as_json: JsonOption = False) -> None:
    """Show what an artifact is: source, variants with their size and exactness, limits, prompts, labels or search.

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
        "engine": manifest.engine,
        "source": f"{source.kind}:{source.id}" + (f" at {source.revision}" if source.revision else ""),
        "licence": source.license or "not named by its source",
        "identity": artifact.identity,
        **_facts(manifest),
        "measured on": f"{manifest.parity.texts} texts; {manifest.parity.machine.cpu}, "
        f"{manifest.parity.machine.threads} threads",
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(f"[bold]{name}[/]", plain(value))
    out.print(grid)
    out.print(_variants_table(artifact))


def _facts(manifest: Manifest) -> dict[str, str]:
    if manifest.task == NER:
        return ner_facts(
            tokenizer=manifest.tokenizer, token_classification=manifest.token_classification, spacy=manifest.spacy
        )
    if manifest.task == SUMMARIZATION:
        spec = section(manifest.summarization, "summarization")
        return summary_facts(section(manifest.tokenizer, "tokenizer"), spec)
    return _embedding_facts(manifest)


def _embedding_facts(manifest: Manifest) -> dict[str, str]:
    tokenizer, embedding = section(manifest.tokenizer, "tokenizer"), section(manifest.embedding, "embedding")
    return {
        "tokens": f"up to {tokenizer.max_tokens}, cut on the {tokenizer.truncation_side}",
        "vectors": f"{embedding.dim} float32, {embedding.similarity}",
        "pooling": ", ".join(embedding.pooling),
        "prompts": ", ".join(name for name, prompt in embedding.prompts.items() if prompt.text) or "none",
    }


def _variants_table(artifact: Artifact) -> Table:
    figures = artifact.manifest.parity.variants
    titles = headlines(figures.values())
    rows = table("variant", "graphs", right=("size", *titles.values()))
    for name, variant in sorted(artifact.manifest.variants.items()):
        files = [graph.file for graph in variant.graphs.values()]
        cells = [headline(figures.get(name, {}), key) for key in titles]
        rows.add_row(name, ", ".join(files), megabytes(artifact.manifest.variant_bytes(name)), *cells)
    return rows


def _print_report(report: VerifyReport) -> None:
    out.print(f"[bold green]verified[/] {report.name} {report.version}  {report.identity}", soft_wrap=True)
    out.print(f"{report.files} files, {megabytes(report.bytes)}, every hash as listed")
    figures = {name: asdict(replay) for name, replay in report.variants.items()}
    titles = headlines(figures.values())
    rows = table("variant", right=("golden cases", *titles.values()))
    for name, found in figures.items():
        rows.add_row(name, str(found["cases"]), *(headline(found, key) for key in titles))
    out.print(rows)
