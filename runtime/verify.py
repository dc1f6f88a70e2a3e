"""`verify`: all checks of an artifact, then its golden cases on this CPU.

Loading a graph is no security boundary: an engine can crash on a hostile one. The replay therefore happens in a child
process, `python -m onnx_ml_bridge.runtime.replay DIR`, with limits on memory and time.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts.checks import Artifact, check_all, read_artifact
from ..artifacts.constants import NER, SUMMARIZATION
from ..artifacts.errors import ArtifactError, ConfigError, InputError, OnnxMlBridgeError
from ..artifacts.gates import gate_misses
from ..artifacts.golden import EmbeddingCase, EntityCase, SummaryCase, read_golden
from . import cpu
from .entities import Entities, NerOptions, Recognizer
from .entity_agreement import agreement
from .loading import OpenArtifact, load_tokenizer
from .ner import NerTexts, load_ner_texts, recognizer_of
from .sentence_embedding import SentenceEmbedder, embedding_model
from .session import import_onnxruntime
from .summarization.summarizer import Summarizer, summarization_model, summarize_with_settings
from .tokenizer import TextTokenizer

_TIMEOUT_SECONDS = 300
_MIN_MEMORY = 8 << 30
_OTHER_RESULTS = "This CPU or this ONNX Runtime computes differently from the builder's; do not use the variant."
# Every thread takes address space, which is what is limited.
_MAX_THREADS = 8


@dataclass(frozen=True)
class VariantReplay:
    """How close a variant came to the golden cases."""

    cases: int
    max_abs: float
    cosine_min: float


@dataclass(frozen=True)
class EntityReplay:
    """How well a variant agrees with the golden cases; `score_max_abs` is None where there are no scores."""

    cases: int
    differing: int
    entity_f1: float
    score_max_abs: float | None


@dataclass(frozen=True)
class SummaryReplay:
    """How many summaries are not the original's; the share that is the sealed ones, None where none were sealed."""

    cases: int
    differing: int
    sealed_same: float | None


AnyReplay = VariantReplay | EntityReplay | SummaryReplay


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found; `identity` is the SHA-256 of manifest.json, `bytes` counts the listed files."""

    name: str
    version: str
    identity: str
    files: int
    bytes: int
    variants: dict[str, AnyReplay]


def verify(root: str | Path) -> VerifyReport:
    """Hash every file, check every graph and replay the golden cases with every variant.

    :raises ArtifactError: with the code of the first check that fails.
    :raises DependencyError: when ONNX Runtime is not installed.
    """
    artifact = read_artifact(root)
    check_all(artifact)
    _family(artifact).load_texts(artifact)
    import_onnxruntime()
    sizes = [entry.size for entry in artifact.manifest.files.values()]
    variants = _replay_in_child(artifact, max(_MIN_MEMORY, 4 * sum(sizes)))
    manifest = artifact.manifest
    return VerifyReport(manifest.name, manifest.version, artifact.identity, len(sizes), sum(sizes), variants)


def replay(artifact: Artifact) -> dict[str, AnyReplay]:
    """Replay the golden cases in this process, variant by variant, or raise `golden` at the first miss."""
    family = _family(artifact)
    texts = family.load_texts(artifact)
    cases: list[Any] = read_golden(artifact.path(artifact.manifest.golden.file), family.cases)
    if len(cases) != artifact.manifest.golden.cases:
        raise ArtifactError("golden", "number of golden cases", expected=artifact.manifest.golden.cases, got=len(cases))
    variants = sorted(artifact.manifest.variants)
    return {name: family.replay(OpenArtifact(artifact, name, texts), cases) for name in variants}


@dataclass(frozen=True)
class _Family:
    """What replaying asks of the models of one task."""

    load_texts: Callable[[Artifact], Any]
    cases: type[EmbeddingCase] | type[EntityCase] | type[SummaryCase]
    replay: Callable[[OpenArtifact[Any], Any], AnyReplay]
    result: type[VariantReplay] | type[EntityReplay] | type[SummaryReplay]


def _family(artifact: Artifact) -> _Family:
    if artifact.manifest.task == NER:
        return _Family(load_ner_texts, EntityCase, _replay_entities, EntityReplay)
    if artifact.manifest.task == SUMMARIZATION:
        return _Family(load_tokenizer, SummaryCase, _replay_summaries, SummaryReplay)
    return _Family(load_tokenizer, EmbeddingCase, _replay_embedding, VariantReplay)


def _replay_entities(opened: OpenArtifact[NerTexts], cases: list[EntityCase]) -> EntityReplay:
    recognizer = recognizer_of(opened, threads=min(_MAX_THREADS, cpu.usable_cpus()))
    found = [_recognize(recognizer, case) for case in cases]
    for number, (case, got) in enumerate(zip(cases, found, strict=True), start=1):
        if (case.tokens, case.truncated) != (got.tokens, got.truncated):
            raise ArtifactError(
                "golden",
                f"tokens and truncated of case {number}",
                expected=(case.tokens, case.truncated),
                got=(got.tokens, got.truncated),
            )
    counted = agreement([case.entities for case in cases], found)
    gate = opened.artifact.manifest.variants[opened.variant].gate
    if misses := gate_misses(counted.metrics(), gate):
        raise ArtifactError("golden", f"variant {opened.variant}: {'; '.join(misses)}", hint=_OTHER_RESULTS)
    return EntityReplay(len(cases), len(counted.differing), counted.entity_f1, counted.score_max_abs)


def _recognize(recognizer: Recognizer, case: EntityCase) -> Entities:
    starts = None if case.sentence_starts is None else [case.sentence_starts]
    return recognizer.recognize([case.input], NerOptions(case.aggregation_strategy, case.stride, starts))[0]


def _replay_summaries(opened: OpenArtifact[TextTokenizer], cases: list[SummaryCase]) -> SummaryReplay:
    summarizer = Summarizer(summarization_model(opened), threads=min(_MAX_THREADS, cpu.usable_cpus()))
    found = summarize_with_settings(summarizer, [case.input for case in cases], [case.settings for case in cases])
    for number, (case, got) in enumerate(zip(cases, found, strict=True), start=1):
        if case.truncated != got.truncated:
            raise ArtifactError("golden", f"truncated of case {number}", expected=case.truncated, got=got.truncated)
    differing = sum(
        (case.expected.text, case.expected.token_ids) != (got.text, got.token_ids)
        for case, got in zip(cases, found, strict=True)
    )
    sealed = [
        case.sealed[opened.variant].token_ids == got.token_ids
        for case, got in zip(cases, found, strict=True)
        if opened.variant in case.sealed
    ]
    same = sum(sealed) / len(sealed) if sealed else None
    # A gate on summaries that nobody sealed is not held: no number holds it
    metrics = {"differing": float(differing), "sealed_same": math.nan if same is None else same}
    if misses := gate_misses(metrics, opened.artifact.manifest.variants[opened.variant].gate):
        raise ArtifactError("golden", f"variant {opened.variant}: {'; '.join(misses)}", hint=_OTHER_RESULTS)
    return SummaryReplay(len(cases), differing, same)


def _replay_embedding(opened: OpenArtifact[TextTokenizer], cases: list[EmbeddingCase]) -> VariantReplay:
    embedder = SentenceEmbedder(embedding_model(opened), threads=min(_MAX_THREADS, cpu.usable_cpus()))
    gate = opened.artifact.manifest.variants[opened.variant].gate
    figures = [_compare(embedder, case) for case in cases]
    for number, (case, (max_abs, cosine)) in enumerate(zip(cases, figures, strict=True), start=1):
        floor = gate.get("cosine_min" if case.group == "plain" else "cosine_min_hard", -1.0)
        if max_abs > gate.get("max_abs", np.inf) or cosine < floor:
            raise ArtifactError(
                "golden",
                f"case {number} with variant {opened.variant}",
                expected=f"max abs <= {gate.get('max_abs', 'any')}, cosine >= {floor}",
                got=f"max abs {max_abs:.2e}, cosine {cosine:.6f}",
                hint=_OTHER_RESULTS,
            )
    return VariantReplay(len(cases), max(f[0] for f in figures), min(f[1] for f in figures))


def _compare(embedder: SentenceEmbedder, case: EmbeddingCase) -> tuple[float, float]:
    """Largest absolute difference and cosine to the expected vector; a different tokenization is a miss at once."""
    result = embedder.embed([case.input], case.prompt_name)
    expected = np.array(case.expected.vector, np.float64)
    got = result.vectors[0].astype(np.float64)
    found = (int(result.token_counts[0]), bool(result.truncated[0]), got.shape)
    required = (case.expected.tokens, case.expected.truncated, expected.shape)
    if found != required:
        raise ArtifactError("golden", "tokens, truncated and shape", expected=required, got=found)
    norm = float(np.linalg.norm(got) * np.linalg.norm(expected))
    both_zero = not got.any() and not expected.any()
    return float(np.abs(got - expected).max()), float(got @ expected / norm) if norm else float(both_zero)


def _replay_in_child(artifact: Artifact, memory: int) -> dict[str, AnyReplay]:
    # -P: without it the current directory, which may be the artifact, would be searched for modules first
    command = [sys.executable, "-P", "-m", __name__, str(artifact.root.absolute()), str(memory)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError("graph", f"the replay did not end within {_TIMEOUT_SECONDS} s") from error
    try:
        answer = json.loads(child.stdout)
    except ValueError as error:
        detail = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ArtifactError("graph", f"the replay died with exit status {child.returncode}: {detail}") from error
    if "error" in answer:
        raise ArtifactError(answer["error"]["code"], answer["error"]["message"])
    kind = _family(artifact).result
    return {name: kind(**figures) for name, figures in answer["variants"].items()}


def _child(root: str, memory: str) -> None:
    """Entry of the child process: one JSON object on stdout, the figures or an error."""
    _limit_memory(int(memory))
    try:
        variants = {name: asdict(figures) for name, figures in replay(read_artifact(root)).items()}
        print(json.dumps({"variants": variants}))
    except OnnxMlBridgeError as error:
        # A case whose input or settings are refused is a wrong case; a graph that loads but fails to run a wrong graph
        code = "golden" if isinstance(error, (ConfigError, InputError)) else "graph"
        code = error.code if isinstance(error, ArtifactError) else code
        print(json.dumps({"error": {"code": code, "message": str(error)}}))


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":  # elsewhere the limit is not there or cannot be lowered
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _child(*sys.argv[1:])
