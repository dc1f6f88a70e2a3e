"""Compare the entities of variants with those of the original, for several lists of labels and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...artifacts.families.gliner import GLINER, GlinerCase, GlinerSpec
from ...artifacts.ner import ExpectedEntity
from ...runtime.entities import Entities
from ...runtime.entity_agreement import agreement
from ...runtime.handles.recognizer import RecognizeOptions, Recognizer
from ..ner.evaluation import NerInput, NerParity, VariantAgreement
from ..ner.evaluation import evidence as ner_evidence
from ..ner.original import OriginalEntities
from ..proof import check_gate
from .original import GlinerSettings, OriginalAnswer

# A text whose entities differ is counted apart if the difference begins with scores that are this close, and if at most
# this share of all texts does
NEAR, MAX_NEAR_SHARE = 1e-4, 0.01
_LABELS = (
    ("person", "location", "date of an event"),
    ("organization",),
    ("person", "organization", "location", "date", "product", "event", "quantity"),
    ("software package", "programming language"),
)
# The settings of calls as (nested, multi_label); the first one is compared on most texts
_MODES = ((False, False), (True, False), (False, True), (True, True))
_OTHER_EVERY = 4
_GOLDEN_CASES = 40
_MAX_GOLDEN_CHARACTERS = 2000


@dataclass(frozen=True)
class GlinerInput(NerInput):
    """One text with all settings of its call."""

    settings: GlinerSettings | None = None

    @property
    def call(self) -> GlinerSettings:
        """The settings."""
        assert self.settings is not None  # the field has a default only because those of the base class have
        return self.settings

    @property
    def options(self) -> RecognizeOptions:
        """The options of the call."""
        call = self.call
        return RecognizeOptions(
            labels=call.labels,
            threshold=call.threshold,
            nested=call.nested,
            multi_label=call.multi_label,
            stride=call.stride,
        )


def gliner_inputs(texts: Sequence[str], spec: GlinerSpec) -> list[GlinerInput]:
    """Return the inputs: every text with one list of labels, in turn the model's own and others, flat or nested."""
    lists = ([spec.labels] if spec.labels else []) + list(_LABELS)
    inputs = []
    for index, text in enumerate(texts):
        nested, multi_label = _MODES[index // len(lists) % len(_MODES) if index % _OTHER_EVERY == 0 else 0]
        labels = lists[index % len(lists)]
        settings = GlinerSettings(labels, spec.threshold, nested, multi_label, spec.stride)
        inputs.append(GlinerInput(text, stride=spec.stride, settings=settings))
    return inputs


def evaluate(
    inputs: Sequence[GlinerInput],
    original: Sequence[OriginalAnswer],
    recognizers: Mapping[str, Recognizer],
    gates: Mapping[str, Mapping[str, float]],
) -> NerParity:
    """Compare every recognizer with the references."""
    comparisons = {name: _compare(recognizer, inputs, original) for name, recognizer in recognizers.items()}
    failures = {
        name: check_gate(GLINER.metrics, compared.metrics, gates[name]) for name, compared in comparisons.items()
    }
    return NerParity(list(inputs), list(original), comparisons, failures)


def recognize(recognizer: Recognizer, inputs: Sequence[GlinerInput]) -> list[Entities]:
    """Return a variant's answers in the order of the inputs; inputs with the same settings form one call."""
    indices: dict[GlinerSettings, list[int]] = {}
    for index, entry in enumerate(inputs):
        indices.setdefault(entry.call, []).append(index)
    answers: dict[int, Entities] = {}
    for chosen in indices.values():
        found = recognizer.recognize([inputs[index].text for index in chosen], inputs[chosen[0]].options)
        answers |= zip(chosen, found, strict=True)
    return [answers[index] for index in range(len(inputs))]


def _compare(
    recognizer: Recognizer, inputs: Sequence[GlinerInput], original: Sequence[OriginalAnswer]
) -> VariantAgreement:
    answers = recognize(recognizer, inputs)
    counted = agreement([each.entities for each in original], answers)
    near = sum(begins_near(inputs[index], original[index], answers[index]) for index in counted.differing)
    excused = near if near <= MAX_NEAR_SHARE * len(inputs) else 0
    mismatches = sum((a.tokens, a.truncated) != (b.tokens, b.truncated) for a, b in zip(original, answers, strict=True))
    metrics = {
        **counted.metrics(),
        "differing": float(len(counted.differing) - excused),
        "token_mismatches": float(mismatches),
    }
    return VariantAgreement(answers, counted, metrics)


def begins_near(entry: GlinerInput, original: OriginalEntities, answer: Entities) -> bool:
    """Return whether the difference of two answers to one text begins with scores within `NEAR` of each other.

    The search keeps entities by descending score, so the first difference is the entity with the highest score that
    only one of the answers has. It must be near the threshold, or near an overlapping entity that only the other has.
    """
    before = {(each.start, each.end, each.label): each.score for each in original.entities}
    after = {(each.start, each.end, each.label): each.score for each in answer}
    only = [
        (score or 0.0, key, side)
        for side, (mine, other) in enumerate(((before, after), (after, before)))
        for key, score in mine.items()
        if key not in other
    ]
    if not only:  # the same entities in another order: two with equal first words have nearly equal scores
        return True
    score, key, side = max(only)
    rivals = [other for other, span, where in only if where != side and span[0] < key[1] and key[0] < span[1]]
    return abs(score - entry.call.threshold) <= NEAR or any(abs(score - rival) <= NEAR for rival in rivals)


def evidence(parity: NerParity) -> dict[str, Any]:
    """Return the content of parity.json, with the number of texts whose difference begins with scores that are near."""
    content = ner_evidence(parity)
    for name, comparison in parity.comparisons.items():
        answers = comparison.answers
        content["variants"][name]["near"] = sum(
            begins_near(entry, original, answers[index])
            for index, (entry, original) in enumerate(zip(parity.inputs, parity.original, strict=True))
            if index in comparison.agreement.differing and isinstance(entry, GlinerInput)
        )
    return content


def golden_cases(parity: NerParity) -> list[GlinerCase]:
    """Return evenly spaced inputs with their references as golden cases.

    Other releases of ONNX Runtime round differently, so texts with a score near the threshold are left out.
    """
    chosen = [
        (entry, answer)
        for entry, answer in zip(parity.inputs, parity.original, strict=True)
        if isinstance(entry, GlinerInput)
        and isinstance(answer, OriginalAnswer)
        and answer.margin > NEAR
        and len(entry.text) <= _MAX_GOLDEN_CHARACTERS
    ]
    every = max(1, len(chosen) // _GOLDEN_CASES)
    return [_case(entry, answer) for entry, answer in chosen[::every]]


def _case(entry: GlinerInput, answer: OriginalAnswer) -> GlinerCase:
    entities = tuple(
        ExpectedEntity(each.start, each.end, each.label, None if each.score is None else float(f"{each.score:.7g}"))
        for each in answer.entities
    )
    call = entry.call
    return GlinerCase(
        entry.text,
        call.labels,
        call.threshold,
        call.nested,
        call.multi_label,
        call.stride,
        entities,
        answer.tokens,
        answer.truncated,
    )
