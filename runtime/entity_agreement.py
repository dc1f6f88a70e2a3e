"""Compare the entities of a variant with those of the original model."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..artifacts.ner import ExpectedEntity
from .entities import Entities

# The start offset, the end offset (both in characters) and the label of an entity. Two entities are equal if all three
# values are equal.
EntityKey = tuple[int, int, str]


@dataclass(frozen=True)
class LabelAgreement:
    """The numbers of entities with one label: those of the original, of the variant, and those that both have."""

    expected: int
    found: int
    common: int

    @property
    def f1(self) -> float:
        """F1 of the variant's entities against the original's; 1 if neither has any."""
        return 2 * self.common / (self.expected + self.found) if self.expected + self.found else 1.0


@dataclass(frozen=True)
class Agreement:
    """The result of comparing the entities of several documents.

    `differing` holds the indices of the documents whose lists of (start, end, label) are not equal. `score_max_abs` is
    the maximum absolute difference of the scores of common entities, None if there are no scores.
    """

    documents: int
    differing: tuple[int, ...]
    labels: dict[str, LabelAgreement]
    score_max_abs: float | None

    @property
    def entity_f1(self) -> float:
        """The F1 score over the entities of all labels."""
        counts = self.labels.values()
        return LabelAgreement(
            sum(each.expected for each in counts),
            sum(each.found for each in counts),
            sum(each.common for each in counts),
        ).f1

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the gates of the manifest can limit, rounded to 7 significant digits."""
        scores = {} if self.score_max_abs is None else {"score_max_abs": float(f"{self.score_max_abs:.7g}")}
        return {"differing": float(len(self.differing)), "entity_f1": float(f"{self.entity_f1:.7g}"), **scores}


def agreement(expected: Sequence[Sequence[ExpectedEntity]], found: Sequence[Entities]) -> Agreement:
    """Compare entities document by document.

    :param expected: the original's entities of each document.
    :param found: the variant's, in the same order of documents.
    """
    originals = [[(entity.start, entity.end, entity.label) for entity in entities] for entities in expected]
    variants = [[(entity.start, entity.end, entity.label) for entity in each.entities] for each in found]
    differing = tuple(index for index, (a, b) in enumerate(zip(originals, variants, strict=True)) if a != b)
    return Agreement(len(originals), differing, _labels(originals, variants), _score_difference(expected, found))


def _labels(originals: Sequence[list[EntityKey]], variants: Sequence[list[EntityKey]]) -> dict[str, LabelAgreement]:
    expected, found, common = Counter[str](), Counter[str](), Counter[str]()
    for a, b in zip(originals, variants, strict=True):
        expected.update(triple[2] for triple in a)
        found.update(triple[2] for triple in b)
        common.update(triple[2] for triple in (Counter(a) & Counter(b)).elements())
    return {label: LabelAgreement(expected[label], found[label], common[label]) for label in sorted(expected | found)}


def _score_difference(expected: Sequence[Sequence[ExpectedEntity]], found: Sequence[Entities]) -> float | None:
    """Return the maximum absolute difference of the scores of common entities; None if there are no scores."""
    differences = []
    for original, variant in zip(expected, found, strict=True):
        scores: defaultdict[EntityKey, deque[float | None]] = defaultdict(deque)
        for each in original:  # a list, since two tokens with the same offsets can be equal entities
            scores[each.start, each.end, each.label].append(each.score)
        for entity in variant.entities:
            matching = scores[entity.start, entity.end, entity.label]
            score = matching.popleft() if matching else None
            if score is not None and entity.score is not None:
                differences.append(abs(score - entity.score))
    return max(differences, default=None)
