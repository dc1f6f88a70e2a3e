"""Compares embedders with the original, and composes parity.json and golden.jsonl from the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from ...artifacts.constants import EXACT
from ...artifacts.families.sentence_embedding import (
    SENTENCE_EMBEDDING,
    EmbeddingCase,
    EmbeddingSpec,
    ExpectedEmbedding,
)
from ...runtime.dimensions import shortened
from ...runtime.handles.embedder import Embedder, EmbedOptions
from ..proof import check_gate
from ..texts import parity_texts, text_group
from .comparison import Comparison, compare, compare_shortened
from .original import EmbeddingInput, OriginalEmbeddings, original_embeddings, shortened_originals

_TEXTS_PER_PROMPT = 64
_WORST = 10
_GOLDEN_EVERY = 26
# Of the golden cases, every fourth is repeated with every number of dimensions
_SHORTENED_EVERY = 4
_SPEED_TEXTS = 128
# Every n-th input is also embedded alone
_ALONE_EVERY = 40


@dataclass(frozen=True, eq=False)
class EmbeddingParity:
    """The parity results: inputs, their groups, references, and the comparison and missed thresholds by variant.

    `shortened` has the references with fewer elements, float32 `[n, dimensions]`, by their number.
    """

    inputs: list[EmbeddingInput]
    groups: list[str]
    original: OriginalEmbeddings
    shortened: dict[int, NDArray[np.float32]]
    comparisons: dict[str, Comparison]
    failures: dict[str, list[str]]


def evaluate(
    pipeline: SentenceTransformer,
    embedders: Mapping[str, Embedder],
    gates: Mapping[str, Mapping[str, float]],
    texts: Sequence[str] | None = None,
    spec: EmbeddingSpec | None = None,
) -> EmbeddingParity:
    """Compare every embedder with the original on the parity texts, and on some of them with every prompt.

    :param gates: thresholds by variant and metric.
    :param texts: the texts, by default the parity texts.
    :param spec: the section of the manifest, whose dimensions are compared too.
    """
    texts = parity_texts() if texts is None else texts
    prompts = [name for name, text in sorted(pipeline.prompts.items()) if text]
    inputs = [EmbeddingInput(text) for text in texts]
    inputs += [EmbeddingInput(text, name) for name in prompts for text in texts[:_TEXTS_PER_PROMPT]]
    groups = [text_group(entry.text) for entry in inputs]
    original = original_embeddings(pipeline, inputs)
    references = {} if spec is None else shortened_originals(pipeline, original, spec.dimensions)
    comparisons = {}
    for name, embedder in embedders.items():
        vectors, mismatches = _embedded(embedder, inputs, original)
        comparisons[name] = compare(original.vectors, vectors, groups, mismatches)
        if spec is not None:
            comparisons[name].metrics.update(_shortened_metrics(references, vectors, groups, spec))
    failures = {
        name: check_gate(SENTENCE_EMBEDDING.metrics, compared.metrics, gates[name])
        for name, compared in comparisons.items()
    }
    if EXACT in embedders:
        failures[EXACT] += _misses_alone(embedders[EXACT], inputs, original, gates[EXACT])
    return EmbeddingParity(inputs, groups, original, references, comparisons, failures)


def evidence(parity: EmbeddingParity) -> dict[str, Any]:
    """Return the content of parity.json without the machine and the versions."""
    return {
        "texts": {group: parity.groups.count(group) for group in sorted(set(parity.groups))},
        "variants": {
            name: {"metrics": comparison.metrics, "worst": worst_texts(parity, name)}
            for name, comparison in parity.comparisons.items()
        },
    }


def worst_texts(parity: EmbeddingParity, variant: str) -> list[dict[str, Any]]:
    """Return the texts with the lowest cosines, lowest first."""
    cosines = parity.comparisons[variant].cosines
    return [
        {
            "text": parity.inputs[index].text[:200],
            "prompt_name": parity.inputs[index].prompt_name,
            "group": parity.groups[index],
            "tokens": parity.original.tokens[index],
            "cosine": round(float(cosines[index]), 6),
        }
        for index in np.argsort(cosines, kind="stable")[:_WORST]
    ]


def golden_cases(parity: EmbeddingParity) -> list[EmbeddingCase]:
    """Return evenly spaced inputs, all whitespace texts and the last input with their references as golden cases."""
    indices = {*range(0, len(parity.inputs), _GOLDEN_EVERY), len(parity.inputs) - 1}
    indices |= {index for index, entry in enumerate(parity.inputs) if not entry.text.strip() and not entry.prompt_name}
    cases = [_case(parity, index) for index in sorted(indices)]
    repeated = sorted(indices)[::_SHORTENED_EVERY]
    return cases + [_case(parity, index, dimensions) for dimensions in parity.shortened for index in repeated]


def _misses_alone(
    embedder: Embedder, inputs: Sequence[EmbeddingInput], original: OriginalEmbeddings, gate: Mapping[str, float]
) -> list[str]:
    """Compare texts that are embedded alone, each without padding, with the original's vectors.

    The other comparisons are of batches, in which shorter texts are padded.

    :returns: a message if a difference is above the gate's threshold `max_abs`.
    """
    worst = 0.0
    for index in range(0, len(inputs), _ALONE_EVERY):
        options = EmbedOptions(prompt_name=inputs[index].prompt_name)
        (vector,) = embedder.embed([inputs[index].text], options).vectors
        worst = max(worst, float(np.abs(vector - original.vectors[index]).max()))
    threshold = gate.get("max_abs", np.inf)
    is_missed = not worst <= threshold  # a value that is not a number misses the threshold too
    return [f"max_abs of texts alone is {worst:.6g}, expected <= {threshold:.6g}"] if is_missed else []


def _case(parity: EmbeddingParity, index: int, dimensions: int | None = None) -> EmbeddingCase:
    entry, original = parity.inputs[index], parity.original
    row = original.vectors[index] if dimensions is None else parity.shortened[dimensions][index]
    vector = tuple(float(str(value)) for value in row)  # the shortest decimals that parse to the same float32
    expected = ExpectedEmbedding(vector, original.tokens[index], original.truncated[index])
    return EmbeddingCase(entry.text, entry.prompt_name, parity.groups[index], expected, dimensions)


def texts_per_second(embed: Callable[[list[str]], object], rounds: int = 3) -> float:
    """Return the best speed of several rounds over some parity texts; a rough measurement for the report."""
    texts = parity_texts()[:_SPEED_TEXTS]
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        embed(texts)
        best = max(best, len(texts) / (time.perf_counter() - started))
    return best


def _shortened_metrics(
    references: Mapping[int, NDArray[np.float32]],
    vectors: NDArray[np.float32],
    groups: Sequence[str],
    spec: EmbeddingSpec,
) -> dict[str, float]:
    """Compare the vectors of every number of dimensions, shortened as in a call."""
    metrics: dict[str, float] = {}
    for dimensions, reference in references.items():
        actual = shortened(vectors, dimensions, normalized=spec.normalized)
        metrics |= compare_shortened(reference, actual, groups)
    return metrics


def _embedded(
    embedder: Embedder, inputs: Sequence[EmbeddingInput], original: OriginalEmbeddings
) -> tuple[NDArray[np.float32], int]:
    """Return the vectors of a variant, and the number of texts whose tokens or truncation differ."""
    vectors: NDArray[np.float32] = np.empty_like(original.vectors)
    mismatches = 0
    for name in {entry.prompt_name for entry in inputs}:
        indices = [index for index, entry in enumerate(inputs) if entry.prompt_name == name]
        result = embedder.embed([inputs[index].text for index in indices], EmbedOptions(prompt_name=name))
        vectors[indices] = result.vectors
        assert result.token_counts is not None  # an ONNX model counts
        actual = zip(result.token_counts.tolist(), result.truncated.tolist(), strict=True)
        expected = ((original.tokens[index], original.truncated[index]) for index in indices)
        mismatches += sum(a != b for a, b in zip(actual, expected, strict=True))
    return vectors, mismatches
