"""The parity stage for sentence embeddings: compare, gate, write the evidence and the golden cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from ...artifacts.families.sentence_embedding import SENTENCE_EMBEDDING, EmbeddingCase, ExpectedEmbedding
from ...runtime.sentence_embedding import SentenceEmbedder
from ..proof import check_gate
from ..texts import parity_texts, text_group
from .comparison import Comparison, compare
from .original import EmbeddingInput, OriginalEmbeddings, original_embeddings

_TEXTS_PER_PROMPT = 64
_WORST = 10
_GOLDEN_EVERY = 26
_SPEED_TEXTS = 128


@dataclass(frozen=True)
class EmbeddingParity:
    """What the stage found: inputs, their groups, the original's answers; a comparison and gate misses by variant."""

    inputs: list[EmbeddingInput]
    groups: list[str]
    original: OriginalEmbeddings
    comparisons: dict[str, Comparison]
    failures: dict[str, list[str]]


def evaluate(
    pipeline: SentenceTransformer,
    embedders: Mapping[str, SentenceEmbedder],
    gates: Mapping[str, Mapping[str, float]],
    texts: Sequence[str] | None = None,
) -> EmbeddingParity:
    """Run the original and every variant on the parity texts, and on some of them under each prompt."""
    texts = parity_texts() if texts is None else texts
    prompts = [name for name, text in sorted(pipeline.prompts.items()) if text]
    inputs = [EmbeddingInput(text) for text in texts]
    inputs += [EmbeddingInput(text, name) for name in prompts for text in texts[:_TEXTS_PER_PROMPT]]
    groups = [text_group(entry.text) for entry in inputs]
    original = original_embeddings(pipeline, inputs)
    comparisons = {name: _compare(embedder, inputs, groups, original) for name, embedder in embedders.items()}
    failures = {
        name: check_gate(SENTENCE_EMBEDDING.metrics, found.metrics, gates[name]) for name, found in comparisons.items()
    }
    return EmbeddingParity(inputs, groups, original, comparisons, failures)


def evidence(parity: EmbeddingParity) -> dict[str, Any]:
    """The records of parity.json."""
    return {
        "texts": {group: parity.groups.count(group) for group in sorted(set(parity.groups))},
        "variants": {
            name: {"metrics": comparison.metrics, "worst": worst_texts(parity, name)}
            for name, comparison in parity.comparisons.items()
        },
    }


def worst_texts(parity: EmbeddingParity, variant: str) -> list[dict[str, Any]]:
    """The texts a variant is furthest off on, worst first."""
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
    """An even selection of the inputs with the original's answers; the blank ones and the last are among them."""
    indices = {*range(0, len(parity.inputs), _GOLDEN_EVERY), len(parity.inputs) - 1}
    indices |= {index for index, entry in enumerate(parity.inputs) if not entry.text.strip() and not entry.prompt_name}
    return [_case(parity, index) for index in sorted(indices)]


def _case(parity: EmbeddingParity, index: int) -> EmbeddingCase:
    entry, original = parity.inputs[index], parity.original
    vector = tuple(float(str(value)) for value in original.vectors[index])  # the shortest digits that give the float32
    expected = ExpectedEmbedding(vector, original.tokens[index], original.truncated[index])
    return EmbeddingCase(entry.text, entry.prompt_name, parity.groups[index], expected)


def texts_per_second(embed: Callable[[list[str]], object], rounds: int = 3) -> float:
    """Best speed of `rounds` over some of the parity texts; a guide for the report, not a benchmark."""
    texts = parity_texts()[:_SPEED_TEXTS]
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        embed(texts)
        best = max(best, len(texts) / (time.perf_counter() - started))
    return best


def _compare(
    embedder: SentenceEmbedder, inputs: Sequence[EmbeddingInput], groups: Sequence[str], original: OriginalEmbeddings
) -> Comparison:
    vectors: NDArray[np.float32] = np.empty_like(original.vectors)
    mismatches = 0
    for name in {entry.prompt_name for entry in inputs}:
        indices = [index for index, entry in enumerate(inputs) if entry.prompt_name == name]
        result = embedder.embed([inputs[index].text for index in indices], name)
        vectors[indices] = result.vectors
        found = zip(result.token_counts.tolist(), result.truncated.tolist(), strict=True)
        expected = ((original.tokens[index], original.truncated[index]) for index in indices)
        mismatches += sum(a != b for a, b in zip(found, expected, strict=True))
    return compare(original.vectors, vectors, groups, mismatches)
