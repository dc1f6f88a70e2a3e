"""From the scores of tokens to entities: the aggregation strategies of FORMAT.md, over whole batches at once.

Every step works on flat arrays that hold the tokens of many windows one after the other; `opens` marks where a window
begins, and nothing is ever joined across such a place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.token_classification import TokenClassificationSpec
from ..entities import Found


@dataclass(frozen=True)
class ScoredTokens:
    """n tokens without the special ones: `scores` float32 `[n, labels]`, everything else `[n]`.

    `starts` and `ends` are places in characters, `opens` says which tokens are the first of their window, `subwords`
    which go on with the word before them.
    """

    scores: NDArray[np.float32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    opens: NDArray[np.bool_]
    subwords: NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """n tokens, words or groups of them, each with its best class and that one's score; all arrays are `[n]`."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    opens: NDArray[np.bool_]
    classes: NDArray[np.intp]
    scores: NDArray[np.float32]


class Labels:
    """What the classes of a model mean: their labels, their tags, and which of them are ignored."""

    def __init__(self, spec: TokenClassificationSpec) -> None:
        """Take the labels apart once."""
        self.names = spec.labels
        self.groups = tuple(label.split("-", 1)[-1] for label in spec.labels)
        tags = [label[2:] if label.startswith(("B-", "I-")) else label for label in spec.labels]
        self.tags = np.array([tags.index(tag) for tag in tags], np.intp)
        self.begins = np.array([label.startswith("B-") for label in spec.labels])
        self._ignored = {
            False: np.array([name in spec.ignore_labels for name in self.names]),
            True: np.array([name in spec.ignore_labels for name in self.groups]),
        }

    def kept(self, items: Items, grouped: bool) -> list[Found | None]:
        """Each item as an entity, in their order; None in the place of one whose label is ignored."""
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
            None if ignored else Found(start, end, names[label], score) for start, end, label, score, ignored in rows
        ]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis, float32."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = raised / raised.sum(axis=-1, keepdims=True)
    return result


def aggregate(tokens: ScoredTokens, strategy: str, labels: Labels) -> Items:
    """The tokens as they are for `none`, else groups of tokens (`simple`) or of words."""
    if strategy in ("none", "simple") or not len(tokens.starts):
        items = _best(tokens.scores, tokens.starts, tokens.ends, tokens.opens)
    else:
        items = join_words(tokens, strategy)
    return items if strategy == "none" or not len(items.starts) else group(items, labels)


def join_words(tokens: ScoredTokens, strategy: str) -> Items:
    """Words made of at least one token; their scores are the first token's, the mean, or the most certain one's."""
    first = np.flatnonzero(tokens.opens | ~tokens.subwords)
    last = np.append(first[1:], len(tokens.starts)) - 1
    if strategy == "first":
        scores = tokens.scores[first]
    elif strategy == "average":
        sums: NDArray[np.float32] = np.add.reduceat(tokens.scores, first, axis=0)
        scores = sums / (last - first + 1).astype(np.float32)[:, None]
    else:
        scores = tokens.scores[_most_certain(tokens.scores.max(axis=1), first, last)]
    return _best(scores, tokens.starts[first], tokens.ends[last], tokens.opens[first])


def group(items: Items, labels: Labels) -> Items:
    """Neighbours of one tag as one item with the mean of their scores, unless the later one begins an entity.

    There must be at least one item.
    """
    tags = labels.tags[items.classes]
    changes = np.append(True, tags[1:] != tags[:-1])
    first = np.flatnonzero(items.opens | labels.begins[items.classes] | changes)
    last = np.append(first[1:], len(tags)) - 1
    means = np.add.reduceat(items.scores.astype(np.float64), first) / (last - first + 1)
    return Items(
        items.starts[first], items.ends[last], items.opens[first], items.classes[first], means.astype(np.float32)
    )


def merge_windows(found: Iterable[Found]) -> list[Found]:
    """Entities of overlapping windows as those of one text, sorted by start; every one must have a score.

    Of entities that start within the kept one the longer wins, of equally long ones the higher score. The first one is
    held against itself too: if it is empty (a blank that a tokenizer made a token of), it comes twice, as FORMAT.md
    has it.
    """
    entities = sorted(found, key=lambda entity: entity.start)
    merged: list[Found] = []
    kept = entities[0] if entities else None
    for entity in entities:
        assert kept is not None  # there is a first one
        if kept.start <= entity.start < kept.end:
            kept = entity if _rank(entity) > _rank(kept) else kept
        else:
            merged.append(kept)
            kept = entity
    return merged if kept is None else [*merged, kept]


def _rank(entity: Found) -> tuple[int, float]:
    return entity.end - entity.start, entity.score or 0.0


def _best(
    scores: NDArray[np.float32], starts: NDArray[np.int32], ends: NDArray[np.int32], opens: NDArray[np.bool_]
) -> Items:
    """Items with the best class of each row, the first one of equals."""
    classes = scores.argmax(axis=1)
    return Items(starts, ends, opens, classes, np.take_along_axis(scores, classes[:, None], axis=1)[:, 0])


def _most_certain(certainty: NDArray[np.float32], first: NDArray[np.intp], last: NDArray[np.intp]) -> NDArray[np.intp]:
    """The place of the highest value of every word, the first one of equals."""
    highest = np.repeat(np.maximum.reduceat(certainty, first), last - first + 1)
    candidates = np.flatnonzero(certainty == highest)
    result: NDArray[np.intp] = candidates[np.searchsorted(candidates, first)]
    return result
