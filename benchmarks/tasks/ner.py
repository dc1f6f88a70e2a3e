"""Named entities: spaCy, the pipeline of transformers and this project on the same texts.

Artifacts of one spaCy pipeline, with and without its parser, are measured together; each token classifier is measured
separately.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contenders import BRIDGE, Contender, Job, PythonProcess, bridge_contenders, label
from ..targets import Ratio
from ..workload import COLD_START, DISK, PEAK_FIRST, PEAK_LARGE, Metric, Request, Setting, Workload
from . import Run, open_bridge

if TYPE_CHECKING:
    import argparse

    from onnx_ml_bridge.artifacts.checks import Artifact

TITLE = "Named entities"
EXTRAS = "bench,spacy,export,cpu"
LIBRARIES = ("spacy", "thinc", "transformers", "torch", "onnxruntime", "tokenizers", "numpy")

SPACY_NER, SPACY_FULL = "spaCy, ner alone", "spaCy, full pipeline"
PIPELINE, PIPELINE_BATCHES = "transformers pipeline", "transformers pipeline, batches of 8"
_PIPELINE_BATCH = 8
_PARSER = "fp32 with parser"

WORDS = Metric("words_per_second", "words/s", "rate", higher_is_better=True, plotted=True)
WORDS_CPU = Metric("words_per_cpu_second", "words/CPU second", "rate", higher_is_better=True, plotted=True)
_OUTPUTS = Metric("entities", "entities", "count")
_SPEED = (WORDS, WORDS_CPU, _OUTPUTS, COLD_START)

_TEXTS, _LONG_WORDS = 6000, 100_000
_CLASSIFIER_TEXTS = 96
# The number of words of a text for token classifiers. A text of this length has fewer than the 512 tokens that the
# models can read.
_CLASSIFIER_WORDS = range(20, 151)
_MAX_CHARACTERS = 1 << 31  # spaCy's limit of a document, which is 1,000,000 by default
# spaCy imports these packages if they are installed, which takes seconds and hundreds of megabytes. It does not need
# them here, so they are hidden from spaCy, as if they were not installed.
_NOT_FOR_SPACY = ("torch", "tensorflow", "mxnet", "cupy", "jax")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the task's options."""
    parser.add_argument(
        "--long-words",
        type=int,
        default=_LONG_WORDS,
        metavar="N",
        help="words of the long document that spaCy's peak of memory is measured with (default: %(default)s)",
    )


def prepare(request: Request) -> list[Workload]:
    """Return one workload for each spaCy pipeline, then one for each token classifier."""
    from ..inputs import open_artifacts

    artifacts = open_artifacts(request)
    spacy = [each for each in artifacts if _is_spacy(each)]
    by_source = itertools.groupby(sorted(spacy, key=_weights), key=_weights)
    return [
        *(_spacy_workload(list(group), request) for _, group in by_source),
        *(_classifier_workload(each, request) for each in artifacts if not _is_spacy(each)),
    ]


def _is_spacy(artifact: Artifact) -> bool:
    from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec

    return any(isinstance(section, SpacySpec) for section in artifact.manifest.sections.values())


def _weights(artifact: Artifact) -> str:
    return artifact.manifest.source.weights_sha256


def _spacy_workload(artifacts: list[Artifact], request: Request) -> Workload:
    from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
    from onnx_ml_bridge.runtime import cpu

    from ..corpora.documents import documents
    from ..inputs import identities, source_name, write_round_texts, write_texts

    language = artifacts[0].manifest.section(SpacySpec).language
    texts = list(documents(language, request.texts or _TEXTS).texts)
    folder = _folder(artifacts[0], request)
    files, words = write_round_texts(folder, texts, request.rounds)
    threads = tuple(range(1, min(2, cpu.usable_cpus()) + 1))
    long_words = request.options["long_words"]
    peers = _spacy_peers(artifacts[0], request) if request.peers else []
    bridges = (each for artifact in artifacts for each in _spacy_bridges(artifact, request, threads))
    return Workload(
        title=f"spaCy's entities: {artifacts[0].manifest.source.id}",
        original=source_name(artifacts[0]),
        artifacts=identities(artifacts),
        facts=_facts(texts, words) | {"words of the long document": long_words},
        contenders=(*peers, *bridges),
        settings=(Setting(WORDS, files, words, cpu_metric=WORDS_CPU),),
        first=write_texts(folder / "first.jsonl", _first(texts)),
        large=write_texts(folder / "long.jsonl", [long_document(texts, long_words)]),
        metrics=(*_SPEED, PEAK_FIRST, replace(PEAK_LARGE, title="peak memory, long document"), DISK),
        ratios=tuple(_spacy_ratios(threads)),
        outputs=_OUTPUTS,
    )


def _spacy_peers(artifact: Artifact, request: Request) -> Iterator[Contender]:
    from ..inputs import find_original, folder_bytes
    from ..spacy_pipelines import all_but_ner

    folder = find_original(artifact, request).folder
    job = Job("ner", "spacy", str(folder), 1)
    exclude = {SPACY_NER: list(all_but_ner(str(folder))), SPACY_FULL: []}
    for name, components in exclude.items():
        options = {"exclude": components}
        yield Contender(name, replace(job, options=options), PythonProcess(), folder_bytes(folder), name)


def _spacy_bridges(artifact: Artifact, request: Request, threads: tuple[int, ...]) -> Iterator[Contender]:
    """Yield the contenders of an artifact for every number of threads; with a parser, only for one thread."""
    from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec

    has_parser = artifact.manifest.section(SpacySpec).sentences == "parser"
    what, reference = (_PARSER, SPACY_FULL) if has_parser else ("fp32", SPACY_NER)
    for count in threads[:1] if has_parser else threads:
        yield from _bridges(artifact, "fp32", count, _what(what, count), reference, request)


def _classifier_workload(artifact: Artifact, request: Request) -> Workload:
    from onnx_ml_bridge.runtime import cpu

    from ..corpora.documents import documents
    from ..inputs import identities, source_name, write_round_texts, write_texts

    candidates = documents("en", _TEXTS).texts
    count = request.texts or _CLASSIFIER_TEXTS
    texts = [text for text in candidates if len(text.split()) in _CLASSIFIER_WORDS][:count]
    folder = _folder(artifact, request)
    files, words = write_round_texts(folder, texts, request.rounds)
    threads = min(2, cpu.usable_cpus())
    variants = sorted(artifact.manifest.variants)
    peers = _classifier_peers(artifact, request, threads) if request.peers else []
    bridges = (
        each
        for variant in variants
        for each in _bridges(artifact, variant, threads, _what(variant, threads), PIPELINE, request)
    )
    return Workload(
        title=f"Token classification: {artifact.manifest.name}",
        original=source_name(artifact),
        artifacts=identities([artifact]),
        facts=_facts(texts, words),
        contenders=(*peers, *bridges),
        settings=(Setting(WORDS, files, words, cpu_metric=WORDS_CPU),),
        first=write_texts(folder / "first.jsonl", _first(texts)),
        large=None,
        metrics=(*_SPEED, replace(PEAK_FIRST, plotted=True), DISK),
        ratios=tuple(_classifier_ratios(variants, threads)),
        outputs=_OUTPUTS,
    )


def _classifier_peers(artifact: Artifact, request: Request, threads: int) -> Iterator[Contender]:
    from onnx_ml_bridge.artifacts.families.token_classification import TokenClassificationSpec

    from ..inputs import find_original, folder_bytes

    folder = find_original(artifact, request).folder.resolve()
    strategy = artifact.manifest.section(TokenClassificationSpec).aggregation_strategy
    for name, batch in {PIPELINE: 1, PIPELINE_BATCHES: _PIPELINE_BATCH}.items():
        job = Job("ner", "transformers", str(folder), threads, options={"batch": batch, "strategy": strategy})
        yield Contender(name, job, PythonProcess(), folder_bytes(folder), PIPELINE)


def _bridges(
    artifact: Artifact, variant: str, threads: int, what: str, reference: str, request: Request
) -> list[Contender]:
    from ..inputs import variant_bytes

    job = Job("ner", BRIDGE, str(artifact.root), threads, variant)
    size = variant_bytes(artifact, variant)
    # The Rust command keeps running and reads from a pipe, because the command `bench` does not report CPU seconds
    return bridge_contenders(
        request.releases, job, what, command="ner", disk_bytes=size, reference=reference, keep_open=True
    )


def _what(variant: str, threads: int) -> str:
    return f"{variant}, {'1 thread' if threads == 1 else f'{threads} threads'}"


def _spacy_ratios(threads: tuple[int, ...]) -> Iterator[Ratio]:
    """Yield the ratios to spaCy, which uses one thread.

    With one thread, words per CPU second, memory and start are compared; with more threads, words per second.
    """
    for language, minimum in {"Python": 5, "Rust": 8}.items():
        one = label(_what("fp32", 1), language)
        yield Ratio(f"{language} / spaCy, words per CPU second", WORDS_CPU.key, one, SPACY_NER, minimum)
        for count in threads[1:]:
            more = label(_what("fp32", count), language)
            yield Ratio(f"{language}, {count} threads / spaCy, words per second", WORDS.key, more, SPACY_NER)
        yield Ratio(f"spaCy / {language}, peak with the long document", PEAK_LARGE.key, SPACY_NER, one, 8)
        yield Ratio(f"spaCy / {language}, cold start", COLD_START.key, SPACY_NER, one)
        full = label(_what(_PARSER, 1), language)
        yield Ratio(f"{language} with parser / full spaCy, words per CPU second", WORDS_CPU.key, full, SPACY_FULL)
        yield Ratio(f"full spaCy / {language} with parser, peak", PEAK_LARGE.key, SPACY_FULL, full)


def _classifier_ratios(variants: Sequence[str], threads: int) -> Iterator[Ratio]:
    """Yield the ratios to the pipeline of transformers."""
    for variant, language in itertools.product(variants, ("Python", "Rust")):
        name, what = label(_what(variant, threads), language), f"{variant} in {language}"
        yield Ratio(f"{what} / transformers, words per second", WORDS.key, name, PIPELINE)
        yield Ratio(f"transformers / {what}, cold start", COLD_START.key, PIPELINE, name)
        yield Ratio(f"transformers / {what}, peak to the first answer", PEAK_FIRST.key, PIPELINE, name)


def _facts(texts: Sequence[str], words: Sequence[int]) -> dict[str, str | int | float]:
    from ..conditions import hash_texts

    return {"texts": len(texts), "words": sum(words), "SHA-256 of the texts": hash_texts(texts)[:12]}


def _folder(artifact: Artifact, request: Request) -> Path:
    folder = request.scratch / artifact.manifest.name
    folder.mkdir()
    return folder


def _first(texts: Sequence[str]) -> list[str]:
    return [next(text for text in texts if text.strip())]


def long_document(texts: Sequence[str], words: int) -> str:
    """Join texts to a document of `words` words, one paragraph per text; texts are repeated if there are too few."""
    paragraphs, missing = [], words
    for text in itertools.cycle(text for text in texts if text.strip()):
        paragraphs.append(text if len(text.split()) <= missing else " ".join(text.split(" ")[:missing]))
        missing -= len(paragraphs[-1].split())
        if missing <= 0:
            break
    return "\n\n".join(paragraphs)


def to_json(answer: Sequence[Any]) -> dict[str, Any]:
    """Return the entities of a text as strings, whose form depends on the library: only their number is compared."""
    return {"entities": list(map(str, answer))}


def count_outputs(line: dict[str, Any]) -> int:
    """Return the number of entities."""
    return len(line["entities"])


def _load_spacy(job: Job) -> Run:
    for name in _NOT_FOR_SPACY:
        sys.modules[name] = None  # type: ignore[assignment] # makes importing it fail
    from ..spacy_pipelines import load_pipeline

    pipeline = load_pipeline(job.source, job.options["exclude"])
    pipeline.max_length = _MAX_CHARACTERS

    def recognize(texts: list[str]) -> list[list[tuple[str, str, int, int]]]:
        return [
            [(span.text, span.label_, span.start_char, span.end_char) for span in document.ents]
            for document in pipeline.pipe(texts)
        ]

    return recognize


def _load_transformers(job: Job) -> Run:
    import torch
    from transformers import pipeline

    torch.set_num_threads(job.threads)
    strategy, batch = job.options["strategy"], job.options["batch"]
    run = pipeline("token-classification", model=job.source, aggregation_strategy=strategy, device="cpu")
    return lambda texts: list(run(texts, batch_size=batch))


def _load_bridge(job: Job) -> Run:
    return open_bridge(job, "ner").extract_entities_batch


LOADERS: dict[str, Callable[[Job], Run]] = {
    "spacy": _load_spacy,
    "transformers": _load_transformers,
    BRIDGE: _load_bridge,
}
