"""Compares entity recognizers with the original, and composes parity.json and golden.jsonl from the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...artifacts.ner import METRICS, EntityCase, ExpectedEntity
from ...runtime.entities import Entities
from ...runtime.entity_agreement import Agreement, agreement
from ...runtime.handles.recognizer import RecognizeOptions, Recognizer
from ..adversarial import adversarial_texts
from ..proof import check_gate
from ..texts import parity_texts
from .original import OriginalEntities

_ADVERSARIAL_TEXTS = 300
_ADVERSARIAL_SEED = 20260103
_SHOWN = 10
_GOLDEN_CASES = 40
_MAX_GOLDEN_CHARACTERS = 2000
_SPEED_TEXTS = 200


@dataclass(frozen=True)
class NerInput:
    """One text with the settings of its call; None for a setting that does not apply to the model."""

    text: str
    aggregation_strategy: str | None = None
    stride: int | None = None
    sentence_starts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class VariantAgreement:
    """The comparison of one variant with the original: its answers to all inputs, their agreement, and the metrics."""

    answers: list[Entities]
    agreement: Agreement
    metrics: dict[str, float]


@dataclass(frozen=True)
class NerParity:
    """The parity results: inputs, references, and the comparison and missed thresholds by variant."""

    inputs: list[NerInput]
    original: list[OriginalEntities]
    comparisons: dict[str, VariantAgreement]
    failures: dict[str, list[str]]


def ner_texts(language: str | None) -> list[str]:
    """Return the parity texts of all tasks, and adversarial texts in the language of the model."""
    return parity_texts() + adversarial_texts(language or "en", _ADVERSARIAL_TEXTS, _ADVERSARIAL_SEED)


def evaluate(
    inputs: Sequence[NerInput],
    original: Sequence[OriginalEntities],
    recognizers: Mapping[str, Recognizer],
    gates: Mapping[str, Mapping[str, float]],
) -> NerParity:
    """Compare every recognizer with the references.

    :param original: the reference of every input.
    :param gates: thresholds by variant and metric.
    """
    comparisons = {name: _compare(recognizer, inputs, original) for name, recognizer in recognizers.items()}
    failures = {name: check_gate(METRICS, compared.metrics, gates[name]) for name, compared in comparisons.items()}
    return NerParity(list(inputs), list(original), comparisons, failures)


def recognize(recognizer: Recognizer, inputs: Sequence[NerInput]) -> list[Entities]:
    """Return a variant's answers in the order of the inputs; inputs with the same settings form one call."""
    indices: dict[tuple[str | None, int | None, bool], list[int]] = {}
    for index, entry in enumerate(inputs):
        key = (entry.aggregation_strategy, entry.stride, entry.sentence_starts is not None)
        indices.setdefault(key, []).append(index)
    answers: dict[int, Entities] = {}
    for (strategy, stride, has_starts), chosen in indices.items():
        starts = [inputs[index].sentence_starts or () for index in chosen] if has_starts else None
        options = RecognizeOptions(aggregation_strategy=strategy, stride=stride, sentence_starts=starts)
        answers |= zip(chosen, recognizer.recognize([inputs[index].text for index in chosen], options), strict=True)
    return [answers[index] for index in range(len(inputs))]


def evidence(parity: NerParity) -> dict[str, Any]:
    """Return the content of parity.json without the machine and the versions."""
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


def label_figures(agreed: Agreement) -> dict[str, dict[str, float]]:
    """Return, for every label, the numbers of entities and the F1 score."""
    return {label: {**asdict(counts), "f1": round(counts.f1, 6)} for label, counts in agreed.labels.items()}


def differing_texts(parity: NerParity, variant: str) -> list[dict[str, Any]]:
    """Return the first texts in which variant and original differ, with the entities that only one of the two has."""
    comparison = parity.comparisons[variant]
    shown = []
    for index in comparison.agreement.differing[:_SHOWN]:
        expected = {_triple(entity) for entity in parity.original[index].entities}
        actual = {_triple(entity) for entity in comparison.answers[index].entities}
        shown.append(
            {
                "text": parity.inputs[index].text[:500],
                "original alone": [list(triple) for triple in sorted(expected - actual)],
                "variant alone": [list(triple) for triple in sorted(actual - expected)],
            }
        )
    return shown


def golden_cases(parity: NerParity) -> list[EntityCase]:
    """Return evenly spaced inputs of at most 2,000 characters with their references as golden cases."""
    short = [index for index, entry in enumerate(parity.inputs) if len(entry.text) <= _MAX_GOLDEN_CHARACTERS]
    every = max(1, len(short) // _GOLDEN_CASES)
    return [_case(parity, index) for index in short[::every]]


def words_per_second(recognize: Callable[[list[str]], object], texts: Sequence[str], rounds: int = 3) -> float:
    """Return the best speed of several rounds over some of the texts; a rough measurement for the report."""
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
    answers = recognize(recognizer, inputs)
    counted = agreement([each.entities for each in original], answers)
    mismatches = sum((a.tokens, a.truncated) != (b.tokens, b.truncated) for a, b in zip(original, answers, strict=True))
    return VariantAgreement(answers, counted, {**counted.metrics(), "token_mismatches": float(mismatches)})


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
