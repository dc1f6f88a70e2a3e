"""Aggregation of token scores to entities, on values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ml_bridge.artifacts.families.token_classification import TokenClassificationSpec
from onnx_ml_bridge.artifacts.ner import STRATEGIES
from onnx_ml_bridge.runtime.entities import EntitySpan
from onnx_ml_bridge.runtime.token_classification.aggregation import (
    Labels,
    ScoredTokens,
    aggregate,
    merge_windows,
    softmax,
)
from onnx_ml_bridge.runtime.token_classification.windows import _offsets_inside_words

NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")


def labels(names: tuple[str, ...] = NAMES, ignored: tuple[str, ...] = ("O",)) -> Labels:
    return Labels(TokenClassificationSpec(names, ignored, "simple", None, "length", None, None))


def tokens(rows: list[dict[int, float]], subwords: str = "", starts_window: str = "") -> ScoredTokens:
    """Return tokens of one character each.

    :param rows: for each token, the scores of some classes.
    :param subwords: one character for each token, `x` for a subword.
    :param starts_window: one character for each token, `x` for the first token of a window.
    """
    scores = np.zeros((len(rows), len(NAMES)), np.float32)
    for index, row in enumerate(rows):
        for label, score in row.items():
            scores[index, label] = score
    starts = np.arange(len(rows), dtype=np.int32)
    marks = [np.array([mark == "x" for mark in text.ljust(len(rows))]) for text in (starts_window or "x", subwords)]
    return ScoredTokens(scores, starts, starts + 1, marks[0], marks[1])


def found(scored: ScoredTokens, strategy: str, meaning: Labels | None = None) -> list[tuple[int, int, str, float]]:
    meaning = meaning or labels()
    entities = meaning.to_spans(aggregate(scored, strategy, meaning), grouped=strategy != "none")
    return [(each.start, each.end, each.label, round(each.score, 6)) for each in entities if each is not None]


def sure(*classes: int) -> list[dict[int, float]]:
    """Return rows of scores, each with only the given class: the scores are 0.50, 0.51, 0.52, ..."""
    return [{label: 0.5 + index / 100} for index, label in enumerate(classes)]


def test_softmax_by_hand():
    # The softmax of 0 and ln(3) is 1/4 and 3/4, also if 1000 is added to both logits
    rows = np.array([[0, np.log(3)], [1000, 1000 + np.log(3)]], np.float32)
    assert softmax(rows).dtype == np.float32
    assert np.allclose(softmax(rows), [[0.25, 0.75]] * 2, atol=1e-5)


def test_none_returns_every_token_with_its_full_label():
    assert found(tokens(sure(0, 1, 2, 0, 4)), "none") == [
        (1, 2, "B-PER", 0.51),
        (2, 3, "I-PER", 0.52),
        (4, 5, "I-ORG", 0.54),
    ]


def test_simple_groups_consecutive_tokens_with_the_same_tag():
    # B-PER I-PER is one group, whose score is the mean of 0.50 and 0.51. The second B-PER starts a new group, and so
    # does I-ORG, because it has another tag than I-PER.
    assert found(tokens(sure(1, 2, 1, 2, 2, 4, 4)), "simple") == [
        (0, 2, "PER", 0.505),
        (2, 5, "PER", 0.53),
        (5, 7, "ORG", 0.555),
    ]


def test_a_token_with_an_ignored_label_separates_groups():
    assert found(tokens(sure(2, 0, 2)), "simple") == [(0, 1, "PER", 0.5), (2, 3, "PER", 0.52)]


def test_the_first_of_equal_labels_wins():
    assert found(tokens([{2: 0.4, 4: 0.4}]), "simple") == [(0, 1, "PER", 0.4)]


SPLIT = [{1: 0.6, 4: 0.3}, {2: 0.1, 4: 0.9}, {4: 0.7, 2: 0.2}, {0: 0.8}]


def test_first_uses_the_first_token_of_a_word():
    assert found(tokens(SPLIT, " xx "), "first") == [(0, 3, "PER", 0.6)]


def test_max_uses_the_token_with_the_highest_score():
    assert found(tokens(SPLIT, " xx "), "max") == [(0, 3, "ORG", 0.9)]


def test_average_uses_the_mean_of_every_class():
    # Class 4 has the highest mean of the word's tokens, (0.3 + 0.9 + 0.7) / 3; class 1 has only 0.2
    assert found(tokens(SPLIT, " xx "), "average") == [(0, 3, "ORG", 0.633333)]


def test_max_uses_the_first_of_equal_tokens():
    rows = [{1: 0.5}, {2: 0.9}, {4: 0.9}, {1: 0.9}, {3: 0.9}]
    assert found(tokens(rows, " xx x"), "max") == [(0, 3, "PER", 0.9), (3, 5, "PER", 0.9)]


def test_words_are_grouped_like_tokens():
    # Two words have two tokens each. Their first tokens are B-PER with the score 0.5 and I-PER with the score 0.7.
    rows = [{1: 0.5}, {4: 0.9}, {2: 0.7}, {0: 0.9}]
    assert found(tokens(rows, " x x"), "first") == [(0, 4, "PER", 0.6)]


def test_a_subword_at_the_start_of_a_window_starts_a_word():
    assert found(tokens(sure(1, 4), "xx"), "first") == [(0, 2, "PER", 0.5)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_joined_across_windows(strategy):
    """Two windows have the same entities whether they are decoded together or separately."""
    rows = [{2: 0.6}, {2: 0.7, 4: 0.1}, {2: 0.5, 4: 0.2}, {2: 0.9}]
    whole = found(tokens(rows, "  xx", "x x "), strategy)
    halves = [found(tokens(half, marks), strategy) for half, marks in ((rows[:2], "  "), (rows[2:], "xx"))]
    assert whole == halves[0] + [(start + 2, end + 2, label, score) for start, end, label, score in halves[1]]
    assert len(whole) == (4 if strategy == "none" else 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_tokens_at_all(strategy):
    assert found(tokens([]), strategy) == []


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (("B-GEO-LOC", "I-GEO-LOC"), (0, 1), [(0, 2, "GEO-LOC")]),  # the label is everything after the first hyphen
        (("PER", "B-PER"), (0, 0), [(0, 2, "PER")]),  # a label without a prefix continues a group
        (("PER", "B-PER"), (1, 0), [(0, 2, "PER")]),  # PER has the same tag as B-PER
        (("PER", "B-PER"), (0, 1), [(0, 1, "PER"), (1, 2, "PER")]),
        (("E-MAIL", "I-MAIL"), (0, 1), [(0, 1, "MAIL"), (1, 2, "MAIL")]),  # different tags with the same label
        (("E-MAIL", "I-E-MAIL"), (0, 1), [(0, 2, "MAIL")]),  # the same tag; the label of the first token is used
        (("I-E-MAIL", "E-MAIL"), (0, 1), [(0, 2, "E-MAIL")]),
        (("B-", "I-"), (0, 1), [(0, 2, "")]),
        (("b-PER", "I-PER"), (0, 1), [(0, 1, "PER"), (1, 2, "PER")]),  # a prefix in lower case is not a prefix
        (("X-O", "O"), (0, 1), []),  # ignored, because its label without the prefix is O
    ],
)
def test_labels_of_every_form(names, classes, expected):
    scored = tokens(sure(*classes))
    meaning = labels(names)
    scored = ScoredTokens(
        scored.scores[:, : len(names)], scored.starts, scored.ends, scored.starts_window, scored.subwords
    )
    assert [entity[:3] for entity in found(scored, "simple", meaning)] == expected


def test_ignored_labels_are_full_labels_for_none_and_without_prefix_for_groups():
    scored, meaning = tokens(sure(0, 1, 2, 3)), labels(ignored=("PER", "B-ORG"))
    assert [each[2] for each in found(scored, "none", meaning)] == ["O", "B-PER", "I-PER"]
    assert [each[2] for each in found(scored, "simple", meaning)] == ["O", "ORG"]


def entity(start: int, end: int, label: str = "A", score: float = 0.5) -> EntitySpan:
    return EntitySpan(start, end, label, score)


def test_separate_entities_are_sorted_by_start():
    far, near = entity(10, 12), entity(0, 3)
    assert merge_windows([far, near, entity(3, 5)]) == [near, entity(3, 5), far]


def test_the_longer_of_two_overlapping_entities_is_kept():
    assert merge_windows([entity(0, 3), entity(1, 9)]) == [entity(1, 9)]
    assert merge_windows([entity(0, 9, score=0.1), entity(1, 3, score=0.9)]) == [entity(0, 9, score=0.1)]


def test_of_equally_long_entities_the_higher_score_then_the_first_is_kept():
    low, high, equal = entity(0, 3, "A", 0.5), entity(1, 4, "B", 0.6), entity(2, 5, "C", 0.6)
    assert merge_windows([low, high]) == [high]
    assert merge_windows([high, equal]) == [high]


def test_an_entity_that_overlaps_only_a_dropped_one_is_kept():
    # In the first list, 2:9 replaces the shorter 0:6, and 9:10 is kept, because it starts at the end of 2:9. In the
    # second list, 3:6 is dropped, because 0:4 is longer.
    assert merge_windows([entity(0, 6), entity(2, 9), entity(9, 10)]) == [entity(2, 9), entity(9, 10)]
    assert merge_windows([entity(0, 4), entity(1, 3), entity(3, 6), entity(4, 9)]) == [entity(0, 4), entity(4, 9)]


def test_only_an_empty_first_entity_occurs_twice():
    empty, other = entity(1, 1), entity(5, 5)
    assert merge_windows([empty, entity(2, 4), other]) == [empty, empty, entity(2, 4), other]
    assert merge_windows([]) == []


def test_offsets_inside_words():
    # An offset is inside a word if the characters before and after it are not spaces. The end of the text may be after
    # it, and a tab is not a space.
    text = "ab c\td"
    assert [index for index, inside in enumerate(_offsets_inside_words(text)) if inside] == [1, 4, 5, 6]
    assert _offsets_inside_words("").tolist() == [False]
    assert _offsets_inside_words("a ").tolist() == [False, False, False]
    assert _offsets_inside_words("\U0001f600x").tolist() == [False, True, True]
