"""Who recognizes entities, and how each of them is loaded and called.

A worker imports this module at the start of a process whose start is timed: only the standard library is imported
here, and every loader imports its own library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contenders import Unavailable

SPACY, TOKEN_CLASSIFIER = "spacy", "tagger"

SPACY_NER = "spaCy, ner alone"
SPACY_FULL = "spaCy, full pipeline"
PIPELINE = "transformers pipeline"
_PIPELINE_BATCH = 8
_LONGEST = 1 << 31  # characters: spaCy refuses longer documents, by default those of 1,000,000

# spaCy imports them wherever they are installed, which takes seconds and hundreds of megabytes, and computes with none
# of them here. An installation for spaCy alone has none: that is what it is compared as.
_NOT_FOR_SPACY = ("torch", "tensorflow", "mxnet", "cupy", "jax")

# Entities of every text: as many items as there are entities, whatever they are.
Recognize = Callable[[list[str]], list[list[Any]]]


@dataclass(frozen=True)
class NerJob:
    """What a worker loads: `kind` is a key of `_LOADERS` or `rust`, `source` a spaCy model or a folder.

    `exclude` is for spaCy's components, `variant` for our artifacts, `batch` for the pipeline of transformers.
    """

    kind: str
    source: str
    threads: int
    exclude: tuple[str, ...] = ()
    variant: str = "auto"
    batch: int = 1
    strategy: str = "simple"


@dataclass(frozen=True)
class NerContender:
    """A row of the tables of its group, `spacy` or `tagger`. `disk_bytes` counts the model's files."""

    name: str
    group: str
    job: NerJob
    disk_bytes: int


def ours(language: str, threads: int, what: str = "") -> str:
    """The name of one of our contenders, as in `onnx-ml-bridge fp32, 2 threads, Rust`."""
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    return f"onnx-ml-bridge{what and ' ' + what}, {counted}, {language}"


def pipeline_name(batch: int) -> str:
    """The name of the pipeline of transformers with that batch size."""
    return PIPELINE if batch == 1 else f"{PIPELINE}, batches of {batch}"


def plan_spacy(
    model: str,
    exclude: tuple[str, ...],
    model_bytes: int,
    folders: dict[str, str],
    bytes_of: dict[str, int],
    threads: tuple[int, ...],
) -> list[NerContender]:
    """The group of spaCy: `ner` alone, the full pipeline, and our artifacts from Python and Rust.

    :param folders: where our artifacts are, by what their contenders' names say of them; those of which they say
        something take part with one thread only.
    """
    found = [
        NerContender(SPACY_NER, SPACY, NerJob("spacy", model, 1, exclude), model_bytes),
        NerContender(SPACY_FULL, SPACY, NerJob("spacy", model, 1), model_bytes),
    ]
    for what, folder in folders.items():
        for language in ("Python", "Rust"):
            for count in threads[:1] if what else threads:
                job = NerJob(language.lower(), folder, count)
                found.append(NerContender(ours(language, count, what), SPACY, job, bytes_of[what]))
    return found


def plan_token_classifier(
    model: str, model_bytes: int, folder: str, bytes_of: dict[str, int], threads: int, strategy: str
) -> list[NerContender]:
    """The pipeline of transformers one by one and in batches, and every variant of the artifact."""
    found = []
    for batch in (1, _PIPELINE_BATCH):
        job = NerJob("transformers", model, threads, batch=batch, strategy=strategy)
        found.append(NerContender(pipeline_name(batch), TOKEN_CLASSIFIER, job, model_bytes))
    for variant, size in bytes_of.items():
        for language in ("Python", "Rust"):
            job = NerJob(language.lower(), folder, threads, variant=variant)
            found.append(NerContender(ours(language, threads, variant), TOKEN_CLASSIFIER, job, size))
    return found


def load(job: NerJob) -> Recognize:
    """Load the contender; the result finds the entities of a list of texts as its library does by default.

    :raises Unavailable: when this installation cannot run it.
    """
    try:
        return _LOADERS[job.kind](job)
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed: pip install 'onnx-ml-bridge[spacy,export,cpu]'") from error


def _load_spacy(job: NerJob) -> Recognize:
    for name in _NOT_FOR_SPACY:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it fails
    from .pipelines import load_pipeline

    pipeline = load_pipeline(job.source, job.exclude)
    pipeline.max_length = _LONGEST

    def recognize(texts: list[str]) -> list[list[Any]]:
        return [
            [(span.text, span.label_, span.start_char, span.end_char) for span in document.ents]
            for document in pipeline.pipe(texts)
        ]

    return recognize


def _load_transformers(job: NerJob) -> Recognize:
    import torch
    from transformers import pipeline

    torch.set_num_threads(job.threads)
    run = pipeline("token-classification", model=job.source, aggregation_strategy=job.strategy, device="cpu")
    return lambda texts: list(run(texts, batch_size=job.batch))


def _load_bridge(job: NerJob) -> Recognize:
    from onnx_ml_bridge import OnnxMlBridge

    bridge = OnnxMlBridge.open(ner=job.source, variant=job.variant, threads=job.threads)
    return bridge.extract_entities_batch


_LOADERS: dict[str, Callable[[NerJob], Recognize]] = {
    "spacy": _load_spacy,
    "transformers": _load_transformers,
    "python": _load_bridge,
}
