"""Sentence embeddings side by side: the original, the peers and ours, measured in one run.

python -m benchmarks.embedding --artifact DIR [--source package:MODULE/SUB/DIR] [--rust BINARY] [--rounds 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_ml_bridge.artifacts.checks import Artifact, read_artifact
from onnx_ml_bridge.artifacts.errors import BuildError, OnnxMlBridgeError
from onnx_ml_bridge.export.source import LocalModel, resolve_source
from onnx_ml_bridge.runtime import cpu
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from rich.console import Console

from . import dynamic, plot, report
from .conditions import hash_of, today, versions
from .contenders import plan
from .measure import Bench
from .processes import Inputs, RustBinaries
from .results import Conditions, Results
from .targets import acceptance
from .texts import TEXTS, benchmark_texts

_LIBRARIES = (
    "sentence-transformers",
    "transformers",
    "torch",
    "fastembed",
    "openvino",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "onnx-ml-bridge",
)


@dataclass(frozen=True)
class Subject:
    """What is measured: an artifact, the model it was made from, and the texts."""

    artifact: Artifact
    original: LocalModel
    texts: list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, save, print. Missed targets are no failure: the exit status is 0."""
    options = _parse(arguments)
    console = report.wide_console()
    subject = _subject(options)
    with tempfile.TemporaryDirectory() as scratch:
        bench = _prepare(subject, options, Path(scratch), console)
        rows = bench.run()
    conditions = _conditions(subject, bench, options.rust)
    results = Results(conditions, rows, acceptance(rows, conditions))
    _save(results, options.out)
    report.print_results(results, console)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, required=True, help="folder of a sentence embedding artifact")
    parser.add_argument(
        "--source",
        help="the original: hub:ID@REVISION, path:DIR or package:MODULE/SUB/DIR "
        "(default: what the artifact's manifest names)",
    )
    parser.add_argument("--rust", type=Path, help="the crate's command onnx-ml-bridge, a release build")
    parser.add_argument("--rust-bench", type=Path, help="the binary that has `bench` (default: the one of --rust)")
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured (default: 5)")
    parser.add_argument("--texts", type=int, default=TEXTS, help=f"texts (default: {TEXTS}; fewer for a trial)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for results and plot")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.texts) < 1:
        parser.error("--rounds and --texts: at least 1")
    return options


def _subject(options: argparse.Namespace) -> Subject:
    """Open the artifact and find its original; a mistake there ends the program with the error's own text."""
    try:
        artifact = read_artifact(options.artifact.resolve())
        source = artifact.manifest.source
        named = f"{source.kind}:{source.id}" + (f"@{source.revision}" if source.kind == "hub" else "")
        original = resolve_source(options.source or named, allow_pickle=True)
        if original.source.weights_sha256 != source.weights_sha256:
            raise BuildError(
                "source",
                "the original has other weights than the artifact was made from",
                expected=source.weights_sha256,
                got=original.source.weights_sha256,
                hint="Name the right model with --source.",
            )
    except OnnxMlBridgeError as error:
        raise SystemExit(f"error: {error}") from error
    return Subject(artifact, original, benchmark_texts(options.texts))


def _prepare(subject: Subject, options: argparse.Namespace, scratch: Path, console: Console) -> Bench:
    """Write what the workers need to a scratch folder."""
    inputs = Inputs(scratch / "texts.jsonl", scratch / "first.jsonl", scratch)
    lines = [json.dumps(text, ensure_ascii=False) + "\n" for text in subject.texts]
    inputs.all_texts.write_text("".join(lines), encoding="utf-8")
    inputs.first_text.write_text(lines[0], encoding="utf-8")
    quantized = dynamic.build(subject.artifact, scratch / "dynamic")
    contenders = plan(subject.artifact, subject.original.folder, quantized, cpu.usable_cpus())
    return Bench(
        contenders=contenders,
        inputs=inputs,
        texts=len(lines),
        rounds=options.rounds,
        rust=_binaries(options),
        console=console,
    )


def _binaries(options: argparse.Namespace) -> RustBinaries | None:
    if options.rust is None:
        return None
    return RustBinaries(options.rust.resolve(), (options.rust_bench or options.rust).resolve())


def _conditions(subject: Subject, bench: Bench, rust: Path | None) -> Conditions:
    manifest, source = subject.artifact.manifest, subject.original.source
    found = cpu.describe(cpu.usable_cpus())
    lengths = _token_counts(subject)
    return Conditions(
        date=today(),
        cpu=found.cpu,
        instruction_set=found.instruction_set,
        exact_int8=cpu.has_exact_int8(),
        threads=found.threads,
        versions=versions(_LIBRARIES, rust),
        artifact=f"{manifest.name} {manifest.version}",
        artifact_sha256=subject.artifact.identity,
        source=f"{source.kind}:{source.id}",
        texts=len(subject.texts),
        texts_sha256=hash_of(subject.texts),
        tokens_mean=sum(lengths) / len(lengths),
        tokens_min=min(lengths),
        tokens_max=max(lengths),
        rounds=bench.rounds,
        other_load=sum(bench.other_load) / max(1, len(bench.other_load)),
        busy_workers=bench.busy_workers,
    )


def _token_counts(subject: Subject) -> list[int]:
    spec = subject.artifact.manifest.tokenizer
    tokenizer = TextTokenizer(subject.artifact.path(spec.file), spec)
    return [len(tokens.ids) for tokens in tokenizer.encode(subject.texts)]


def _save(results: Results, folder: Path) -> None:
    """Write results.json, embedding.png and embedding.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    plot.draw(results, folder)


if __name__ == "__main__":
    main()
