"""Aggregate the scores of tokens to entities with the strategies of FORMAT.md, for a whole batch at once.

All arrays are flat: they hold the tokens of all windows of a batch, one window after the other. `starts_window` marks
the first token of each window; tokens of different windows are never joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.token_classification import TokenClassificationSpec
from ..array_equality import ArrayEquality
from ..entities import EntitySpan


@dataclass(frozen=True, eq=False)
class ScoredTokens(ArrayEquality):
    """n tokens, without special tokens: `scores` is float32 `[n, labels]`, all other arrays are `[n]`.

    `starts` and `ends` are offsets in characters, the ends exclusive. `starts_window` marks the first token of each
    window, `subwords` the tokens that continue the word of the previous token.
    """

    scores: NDArray[np.float32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    starts_window: NDArray[np.bool_]
    subwords: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Items(ArrayEquality):
    """n items (tokens, words or groups of words), each with its best class and score; all arrays are `[n]`.

    `classes` holds the index of each item's best label, `scores` the score of this label. The other fields are those
    of `ScoredTokens`.
    """

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    starts_window: NDArray[np.bool_]
    classes: NDArray[np.intp]
    scores: NDArray[np.float32]


class Labels:
    """The labels of a model.

    By class: `names` are the labels, `groups` the labels of entities, which have no prefix before the first hyphen
    (`B-PER` and `I-PER` are `PER`). `tags` numbers the labels without the prefix `B-` or `I-`, `begins` marks the
    labels with the prefix `B-`; see `group`.
    """

    def __init__(self, spec: TokenClassificationSpec) -> None:
        """Derive all fields from the manifest's list of labels."""
        self.names = spec.labels
        self.groups = tuple(label.split("-", 1)[-1] for label in spec.labels)
        tags = [label[2:] if label.startswith(("B-", "I-")) else label for label in spec.labels]
        self.tags = np.array([tags.index(tag) for tag in tags], np.intp)
        self.begins = np.array([label.startswith("B-") for label in spec.labels])
        self._ignored = {
            False: np.array([name in spec.ignore_labels for name in self.names]),
            True: np.array([name in spec.ignore_labels for name in self.groups]),
        }

    def to_spans(self, items: Items, grouped: bool) -> list[EntitySpan | None]:
        """Turn each item into an entity, or into None if its label is ignored.

        :param grouped: use the labels `groups` instead of `names`.
        """
        names = self.groups if grouped else self.names
        rows = zip(
            items.starts.tolist(),
            items.ends.tolist(),
            items.classes.tolist(),
            items.scores.tolist(),
            self._ignored[grouped][items.classes].tolist(),
            strict=True,
        )
        return [
            None if ignored else EntitySpan(start, end, names[label], score)
            for start, end, label, score, ignored in rows
        ]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis, float32."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def aggregate(tokens: ScoredTokens, strategy: str, labels: Labels) -> Items:
    """Aggregate tokens: `none` returns them as they are, `simple` groups tokens, all other strategies group words."""
    if strategy in ("none", "simple") or not len(tokens.starts):
        items = _best(tokens.scores, tokens.starts, tokens.ends, tokens.starts_window)
    else:
        items = join_words(tokens, strategy)
    return items if strategy == "none" or not len(items.starts) else group(items, labels)


def join_words(tokens: ScoredTokens, strategy: str) -> Items:
    """Join the tokens of each word; there must be at least one token.

    The scores of a word are those of its first token (`first`), the mean of its tokens (`average`), or those of the
    token with the highest score of any label (`max`).
    """
    first = np.flatnonzero(tokens.starts_window | ~tokens.subwords)
    last = np.append(first[1:], len(tokens.starts)) - 1
    if strategy == "first":
        scores = tokens.scores[first]
    elif strategy == "average":
        sums: NDArray[np.float32] = np.add.reduceat(tokens.scores, first, axis=0)
        scores = sums / (last - first + 1).astype(np.float32)[:, None]
    else:
        scores = tokens.scores[_argmax_by_word(tokens.scores.max(axis=1), first, last)]
    return _best(scores, tokens.starts[first], tokens.ends[last], tokens.starts_window[first])


def group(items: Items, labels: Labels) -> Items:
    """Join consecutive items with the same tag to one item, whose score is the mean of their scores.

    A label with the prefix `B-` starts a new group. There must be at least one item.
    """
    tags = labels.tags[items.classes]
    changes = np.append(True, tags[1:] != tags[:-1])
    first = np.flatnonzero(items.starts_window | labels.begins[items.classes] | changes)
    last = np.append(first[1:], len(tags)) - 1
    means = np.add.reduceat(items.scores.astype(np.float64), first) / (last - first + 1)
    return Items(
        items.starts[first],
        items.ends[last],
        items.starts_window[first],
        items.classes[first],
        means.astype(np.float32),
    )


def merge_windows(spans: Iterable[EntitySpan]) -> list[EntitySpan]:
    """Merge the entities of a text's overlapping windows; the result is sorted by start.

    If an entity starts inside another, the longer of the two is kept; if they are equally long, the one with the
    higher score. The loop compares the first entity with itself too, so a first entity without characters (from a
    token of whitespace) occurs twice in the result, as in transformers (FORMAT.md).
    """
    entities = sorted(spans, key=lambda entity: entity.start)
    merged: list[EntitySpan] = []
    kept = entities[0] if entities else None
    for entity in entities:
        assert kept is not None  # it is None only if there are no entities
        if kept.start <= entity.start < kept.end:
            kept = entity if _rank(entity) > _rank(kept) else kept
        else:
            merged.append(kept)
            kept = entity
    return merged if kept is None else [*merged, kept]


def _rank(entity: EntitySpan) -> tuple[int, float]:
    return entity.end - entity.start, entity.score or 0.0


def _best(
    scores: NDArray[np.float32], starts: NDArray[np.int32], ends: NDArray[np.int32], starts_window: NDArray[np.bool_]
) -> Items:
    """Return items with the best class of each row; of equal scores, the class with the lowest index."""
    classes = scores.argmax(axis=1)
    return Items(starts, ends, starts_window, classes, np.take_along_axis(scores, classes[:, None], axis=1)[:, 0])


def _argmax_by_word(values: NDArray[np.float32], first: NDArray[np.intp], last: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return, for every word, the index of its token with the highest value; the first one if several are equal."""
    highest = np.repeat(np.maximum.reduceat(values, first), last - first + 1)
    candidates = np.flatnonzero(values == highest)
    result: NDArray[np.intp] = candidates[np.searchsorted(candidates, first)]
    return result
