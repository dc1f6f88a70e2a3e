"""How well entities agree with those of the original."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..artifacts.ner import ExpectedEntity
from .entities import Entities

# Start, end and label: what makes an entity the same.
Triple = tuple[int, int, str]


@dataclass(frozen=True)
class LabelAgreement:
    """Counts of one label: entities of the original, of the variant, and those both have."""

    expected: int
    found: int
    common: int

    @property
    def f1(self) -> float:
        """F1 of the variant's entities against the original's; 1 where neither has any."""
        return 2 * self.common / (self.expected + self.found) if self.expected + self.found else 1.0


@dataclass(frozen=True)
class Agreement:
    """Documents compared entity by entity.

    `differing` are the places of documents with another list of (start, end, label); `score_max_abs` is the largest
    difference of a score over the entities that both have, None without scores.
    """

    documents: int
    differing: tuple[int, ...]
    labels: dict[str, LabelAgreement]
    score_max_abs: float | None

    @property
    def entity_f1(self) -> float:
        """F1 over all labels."""
        counts = self.labels.values()
        return LabelAgreement(
            sum(each.expected for each in counts),
            sum(each.found for each in counts),
            sum(each.common for each in counts),
        ).f1

    def metrics(self) -> dict[str, float]:
        """The figures that gates speak of."""
        scores = {} if self.score_max_abs is None else {"score_max_abs": float(f"{self.score_max_abs:.7g}")}
        return {"differing": float(len(self.differing)), "entity_f1": float(f"{self.entity_f1:.7g}"), **scores}


def agreement(expected: Sequence[Sequence[ExpectedEntity]], found: Sequence[Entities]) -> Agreement:
    """Compare document by document."""
    required = [[(entity.start, entity.end, entity.label) for entity in entities] for entities in expected]
    got = [[(entity.start, entity.end, entity.label) for entity in each.entities] for each in found]
    differing = tuple(index for index, (a, b) in enumerate(zip(required, got, strict=True)) if a != b)
    return Agreement(len(required), differing, _labels(required, got), _score_difference(expected, found))


def _labels(required: Sequence[list[Triple]], got: Sequence[list[Triple]]) -> dict[str, LabelAgreement]:
    expected, found, common = Counter[str](), Counter[str](), Counter[str]()
    for a, b in zip(required, got, strict=True):
        expected.update(triple[2] for triple in a)
        found.update(triple[2] for triple in b)
        common.update(triple[2] for triple in (Counter(a) & Counter(b)).elements())
    return {label: LabelAgreement(expected[label], found[label], common[label]) for label in sorted(expected | found)}


def _score_difference(expected: Sequence[Sequence[ExpectedEntity]], found: Sequence[Entities]) -> float | None:
    differences = []
    for required, got in zip(expected, found, strict=True):
        scores: defaultdict[Triple, deque[float | None]] = defaultdict(deque)
        for each in required:  # two tokens of one character are two entities at one place: they are paired in order
            scores[each.start, each.end, each.label].append(each.score)
        for entity in got.entities:
            same = scores[entity.start, entity.end, entity.label]
            score = same.popleft() if same else None
            if score is not None and entity.score is not None:
                differences.append(abs(score - entity.score))
    return max(differences, default=None)
