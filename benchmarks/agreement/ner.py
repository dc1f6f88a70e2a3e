"""Count the documents whose entities differ between spaCy, Python and Rust.

The offsets of every entity in characters, bytes and UTF-16 units must also select its text.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_ml_bridge import OnnxMlBridge
from onnx_ml_bridge.artifacts.checks import Artifact, read_artifact
from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
from onnx_ml_bridge.runtime.entities import Entity
from rich.console import Console

from ..conditions import hash_texts, versions
from ..contenders import Releases
from ..corpora.documents import Corpus, documents
from ..environment import Failed, child_environment
from ..spacy_pipelines import all_but_ner, load_pipeline

_BATCH = 256
_SHOWN = 20
_LIBRARIES = ("spacy", "onnxruntime", "numpy")


@dataclass(frozen=True, order=True)
class Span:
    """An entity: its offsets in characters (the end is exclusive) and its label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Answers:
    """The entities that spaCy, Python and Rust find in every document; `rust` is None if Rust did not run.

    `tokens` has the number of spaCy's tokens in every document.
    """

    spacy: list[tuple[Span, ...]]
    tokens: list[int]
    python: list[list[Entity]]
    rust: list[list[Entity]] | None


@dataclass(frozen=True)
class Difference:
    """A document in which two implementations find different entities.

    `actual` and `expected` name the implementations: `python` or `rust`, compared with `spacy` or `python`.
    """

    document: int
    actual: str
    expected: str
    missing: list[dict[str, object]]
    extra: list[dict[str, object]]
    text: str


@dataclass(frozen=True)
class Agreement:
    """The results of a run. `differing_rust` is None if Rust did not run.

    `bad_offsets` counts the documents with an entity whose offsets in characters, bytes or UTF-16 units do not select
    its text.
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
        """Whether all answers are equal and all offsets are correct."""
        return not (self.differing_python or self.differing_rust or self.bad_offsets)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--model", required=True, help="the spaCy model: an installed package or a folder")
    add("--artifact", type=Path, required=True, metavar="DIR", help="folder of the artifact made from it")
    add("--documents", type=int, default=10_000, metavar="N", help="number of documents (default: %(default)s)")
    add(
        "--sentences",
        choices=("none", "parser"),
        help="compare with `ner` alone or with the full pipeline (default: what the artifact reproduces)",
    )
    add("--rust", type=Path, metavar="BINARY", help="the crate's command, a release build")
    add("--out", type=Path, metavar="FILE", help="a JSON file for the figures and all differing documents")


def run(options: argparse.Namespace) -> bool:
    """Compare the entities, print and save the results, and return whether all are identical.

    :raises OnnxMlBridgeError: if the artifact is refused.
    :raises TooFewTexts: if the machine has too few documents.
    :raises Failed: if the Rust command fails.
    """
    console = Console(width=118, highlight=False)
    agreement = measure(options, console)
    _print(agreement, console)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(agreement), indent=2, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")
    return agreement.identical


def measure(options: argparse.Namespace, console: Console) -> Agreement:
    """Run spaCy, Python and Rust one after the other."""
    artifact = read_artifact(options.artifact.resolve())
    sentences = options.sentences or artifact.manifest.section(SpacySpec).sentences
    pipeline = load_pipeline(options.model, () if sentences == "parser" else all_but_ner(options.model))
    corpus = documents(pipeline.lang, options.documents, sorted(pipeline.tokenizer.rules))
    console.print(f"[dim]spaCy: {', '.join(pipeline.pipe_names)}[/]")
    spans, tokens = _run_spacy(pipeline, corpus.texts)
    console.print("[dim]Python[/]")
    python = _run_python(artifact, corpus.texts)
    console.print("[dim]Rust[/]" if options.rust else "[dim]Rust: not run[/]")
    rust = _run_rust(options.rust.resolve(), artifact, corpus.texts) if options.rust else None
    return _figures(options, artifact, sentences, corpus, Answers(spans, tokens, python, rust))


def _figures(
    options: argparse.Namespace, artifact: Artifact, sentences: str, corpus: Corpus, answers: Answers
) -> Agreement:
    python, rust = answers.python, answers.rust
    python_spans = list(map(_spans, python))
    python_differs = _compare("python", python_spans, "spacy", answers.spacy, corpus.texts)
    rust_differs = _compare("rust", map(_spans, rust or python), "python", python_spans, corpus.texts)
    binaries = {"": str(options.rust.resolve())} if options.rust else {}
    return Agreement(
        model=options.model,
        language=corpus.language,
        sentences=sentences,
        artifact=f"{artifact.manifest.name} {artifact.manifest.version}",
        artifact_sha256=artifact.identity,
        versions=versions((*_LIBRARIES, options.model), Releases(binaries=binaries)),
        documents=len(corpus.texts),
        texts_sha256=hash_texts(corpus.texts),
        origins=corpus.origins,
        tokens=sum(answers.tokens),
        median_tokens=statistics.median(answers.tokens),
        entities=sum(map(len, answers.spacy)),
        share_with_entity=sum(map(bool, answers.spacy)) / len(answers.spacy),
        differing_python=len(python_differs),
        differing_rust=None if rust is None else len(rust_differs),
        bad_offsets=_bad_offsets(answers, corpus.texts),
        differences=python_differs + rust_differs,
    )


def _bad_offsets(answers: Answers, texts: Sequence[str]) -> int:
    rust = answers.rust or [[]] * len(texts)
    documents = zip(answers.python, rust, texts, strict=True)
    return sum(not all(_covers(each, text) for each in (*python, *other)) for python, other, text in documents)


def _run_spacy(pipeline: Any, texts: Sequence[str]) -> tuple[list[tuple[Span, ...]], list[int]]:
    """Return the entities and number of tokens of every document."""
    spans, tokens = [], []
    for document in pipeline.pipe(texts, batch_size=_BATCH):
        spans.append(tuple(Span(span.start_char, span.end_char, span.label_) for span in document.ents))
        tokens.append(len(document))
    return spans, tokens


def _run_python(artifact: Artifact, texts: Sequence[str]) -> list[list[Entity]]:
    bridge = OnnxMlBridge.open(artifact.root)
    batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
    return [entities for batch in batches for entities in bridge.extract_entities_batch(batch)]


def _run_rust(binary: Path, artifact: Artifact, texts: Sequence[str]) -> list[list[Entity]]:
    """Run the Rust command with one line per document, and return its entities.

    :raises Failed: if the command fails or refuses a line.
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
        raise Failed(f"{len(answers)} answers to {len(texts)} lines (exit status {done.returncode})", detail)
    return [[Entity(**entity) for entity in answer["entities"]] for answer in answers]


def _spans(entities: Iterable[Entity]) -> tuple[Span, ...]:
    return tuple(Span(entity.start, entity.end, entity.label) for entity in entities)


def _compare(
    actual_name: str,
    actual: Iterable[tuple[Span, ...]],
    expected_name: str,
    expected: Iterable[tuple[Span, ...]],
    texts: Sequence[str],
) -> list[Difference]:
    """Return every document whose two lists of entities are not equal, including the order and duplicates."""
    documents = enumerate(zip(actual, expected, texts, strict=True))
    return [
        Difference(index, actual_name, expected_name, *_missing_and_extra(ours, theirs, text), text)
        for index, (ours, theirs, text) in documents
        if ours != theirs
    ]


def _missing_and_extra(
    actual: tuple[Span, ...], expected: tuple[Span, ...], text: str
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    def shown(spans: Iterable[Span]) -> list[dict[str, object]]:
        return [dataclasses.asdict(span) | {"text": text[span.start : span.end]} for span in spans]

    missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
    if not missing and not extra:  # they differ only in order or duplicates
        missing, extra = list(expected), list(actual)
    return shown(missing), shown(extra)


def _covers(entity: Entity, text: str) -> bool:
    """Return whether the offsets in characters, bytes and UTF-16 units all select the entity's text."""
    units = text.encode("utf-16-le")
    slices: list[Callable[[], str]] = [
        lambda: text[entity.start : entity.end],
        lambda: text.encode()[entity.start_byte : entity.end_byte].decode(),
        lambda: units[slice(*(2 * index for index in entity.utf16_range(text)))].decode("utf-16-le"),
    ]
    try:
        return all(cut() == entity.text for cut in slices)
    except ValueError:  # an offset is inside a character or outside the text
        return False


def _print(agreement: Agreement, console: Console) -> None:
    compared = {"none": "ner alone", "parser": "the full pipeline"}[agreement.sentences]
    origins = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in agreement.origins.items())
    rust = "not run" if agreement.differing_rust is None else f"{agreement.differing_rust:,}"
    console.print(f"{agreement.artifact} against {agreement.model} ({compared})")
    console.print(f"{agreement.documents:,} documents: {origins}")
    console.print(
        f"{agreement.tokens:,} tokens, median {agreement.median_tokens:g}; {agreement.entities:,} entities, "
        f"{agreement.share_with_entity:.1%} of the documents have one"
    )
    console.print(
        f"differing documents: Python against spaCy {agreement.differing_python:,}, Rust against Python {rust}; "
        f"with wrong offsets {agreement.bad_offsets:,}"
    )
    for difference in agreement.differences[:_SHOWN]:
        console.print_json(json.dumps(dataclasses.asdict(difference)), ensure_ascii=False)
    if len(agreement.differences) > _SHOWN:
        console.print(f"... and {len(agreement.differences) - _SHOWN:,} more; --out FILE has them all")
