"""The parity stage for named entities: compare, gate, write the evidence and the golden cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...artifacts.ner import METRICS, EntityCase, ExpectedEntity
from ...runtime.entities import Entities, NerOptions, Recognizer
from ...runtime.entity_agreement import Agreement, agreement
from ..adversarial import adversarial_texts
from ..proof import check_gate
from ..texts import parity_texts
from .original import OriginalEntities

_ADVERSARIAL_TEXTS = 300
_ADVERSARIAL_SEED = 20260103
_SHOWN = 10
_GOLDEN_CASES = 40
_LONGEST_GOLDEN = 2000
_SPEED_TEXTS = 200


@dataclass(frozen=True)
class NerInput:
    """One text with the settings of its call; None stands for what does not apply to the model."""

    text: str
    aggregation_strategy: str | None = None
    stride: int | None = None
    sentence_starts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class VariantAgreement:
    """One variant against the original: what it found for every input, the agreement, the figures of its gate."""

    found: list[Entities]
    agreement: Agreement
    metrics: dict[str, float]


@dataclass(frozen=True)
class NerParity:
    """What the stage found: inputs, the original's answers; a comparison and gate misses by variant."""

    inputs: list[NerInput]
    original: list[OriginalEntities]
    comparisons: dict[str, VariantAgreement]
    failures: dict[str, list[str]]


def ner_texts(language: str | None) -> list[str]:
    """The texts that entities are judged on: those of all tasks, and nasty ones in the model's language."""
    return parity_texts() + adversarial_texts(language or "en", _ADVERSARIAL_TEXTS, _ADVERSARIAL_SEED)


def evaluate(
    inputs: Sequence[NerInput],
    original: Sequence[OriginalEntities],
    recognizers: Mapping[str, Recognizer],
    gates: Mapping[str, Mapping[str, float]],
) -> NerParity:
    """Compare every variant's answers with the original's."""
    comparisons = {name: _compare(recognizer, inputs, original) for name, recognizer in recognizers.items()}
    failures = {name: check_gate(METRICS, found.metrics, gates[name]) for name, found in comparisons.items()}
    return NerParity(list(inputs), list(original), comparisons, failures)


def recognize(recognizer: Recognizer, inputs: Sequence[NerInput]) -> list[Entities]:
    """A variant's answers in the order of the inputs; inputs of the same settings go together."""
    indices: dict[tuple[str | None, int | None, bool], list[int]] = {}
    for index, entry in enumerate(inputs):
        key = (entry.aggregation_strategy, entry.stride, entry.sentence_starts is not None)
        indices.setdefault(key, []).append(index)
    found: dict[int, Entities] = {}
    for (strategy, stride, has_starts), chosen in indices.items():
        starts = [inputs[index].sentence_starts or () for index in chosen] if has_starts else None
        options = NerOptions(strategy, stride, starts)
        found |= zip(chosen, recognizer.recognize([inputs[index].text for index in chosen], options), strict=True)
    return [found[index] for index in range(len(inputs))]


def evidence(parity: NerParity) -> dict[str, Any]:
    """The records of parity.json."""
    return {
        "texts": {"all": len(parity.inputs), "with entities": sum(bool(each.entities) for each in parity.original)},
        "entities": sum(len(each.entities) for each in parity.original),
        "variants": {
            name: {
                "metrics": comparison.metrics,
                "labels": label_figures(comparison.agreement),
                "differing": differing_texts(parity, name),
            }
            for name, comparison in parity.comparisons.items()
        },
    }


def label_figures(found: Agreement) -> dict[str, dict[str, float]]:
    """Counts and F1 of every label."""
    return {label: {**asdict(counts), "f1": round(counts.f1, 6)} for label, counts in found.labels.items()}


def differing_texts(parity: NerParity, variant: str) -> list[dict[str, Any]]:
    """The first documents whose entities differ, with the entities that only one side has."""
    comparison = parity.comparisons[variant]
    shown = []
    for index in comparison.agreement.differing[:_SHOWN]:
        expected = {_triple(entity) for entity in parity.original[index].entities}
        got = {_triple(entity) for entity in comparison.found[index].entities}
        shown.append(
            {
                "text": parity.inputs[index].text[:500],
                "original alone": [list(triple) for triple in sorted(expected - got)],
                "variant alone": [list(triple) for triple in sorted(got - expected)],
            }
        )
    return shown


def golden_cases(parity: NerParity) -> list[EntityCase]:
    """An even selection of the inputs that are not too long, with the original's answers."""
    short = [index for index, entry in enumerate(parity.inputs) if len(entry.text) <= _LONGEST_GOLDEN]
    every = max(1, len(short) // _GOLDEN_CASES)
    return [_case(parity, index) for index in short[::every]]


def words_per_second(recognize: Callable[[list[str]], object], texts: Sequence[str], rounds: int = 3) -> float:
    """Best speed of `rounds` over some of the texts; a guide for the report, not a benchmark."""
    chosen = list(texts[:_SPEED_TEXTS])
    words = sum(len(text.split()) for text in chosen)
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        recognize(chosen)
        best = max(best, words / (time.perf_counter() - started))
    return best


def _compare(
    recognizer: Recognizer, inputs: Sequence[NerInput], original: Sequence[OriginalEntities]
) -> VariantAgreement:
    found = recognize(recognizer, inputs)
    counted = agreement([each.entities for each in original], found)
    mismatches = sum((a.tokens, a.truncated) != (b.tokens, b.truncated) for a, b in zip(original, found, strict=True))
    return VariantAgreement(found, counted, {**counted.metrics(), "token_mismatches": float(mismatches)})


def _triple(entity: Any) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.label


def _case(parity: NerParity, index: int) -> EntityCase:
    entry, original = parity.inputs[index], parity.original[index]
    entities = tuple(
        ExpectedEntity(
            entity.start, entity.end, entity.label, None if entity.score is None else float(f"{entity.score:.7g}")
        )
        for entity in original.entities
    )
    return EntityCase(
        entry.text,
        entry.aggregation_strategy,
        entry.stride,
        entry.sentence_starts,
        entities,
        original.tokens,
        original.truncated,
    )
