"""The windows of a long text cover all words, and each word has one owner. bridge/src/families/gliner has the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.runtime.gliner.windows import WordRange, plan_windows

pytestmark = pytest.mark.families("gliner")


def windows(counts, max_words, max_tokens, stride) -> list[WordRange]:
    return list(plan_windows(np.array(counts, np.int64), max_words, max_tokens, stride))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (([1] * 10, 6, 99, 2), [(0, 6, 0, 5), (4, 10, 5, 10)]),
        (([1] * 6, 6, 99, 2), [(0, 6, 0, 6)]),
        (([3, 3, 3, 3], 6, 7, 1), [(0, 2, 0, 1), (1, 3, 1, 2), (2, 4, 2, 4)]),
        (([1, 9, 1], 6, 4, 5), [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]),
        (([], 6, 4, 5), []),
    ],
)
def test_windows_share_words_and_own_those_up_to_the_middle(arguments, expected):
    assert windows(*arguments) == [WordRange(*each) for each in expected]


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 11), st.integers(0, 11))
def test_every_word_has_one_owner(counts, max_words, stride):
    found = windows(counts, max_words, 10, stride)
    assert [word for each in found for word in range(each.own_start, each.own_end)] == list(range(len(counts)))
    for each in found:
        assert each.start <= each.own_start and each.own_end <= each.end
        assert each.end - each.start == 1 or (
            sum(counts[each.start : each.end]) <= 10 and each.end - each.start <= max_words
        )
