"""ROUGE on values computed by hand."""

import pytest
from onnx_ml_bridge.parity.summarization.rouge import Rouge, common_length, mean_rouge, rouge, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CAT's 2nd-best hat.", ["the", "cat", "s", "2nd", "best", "hat"]),
        ("snake_case __x__ 3.5", ["snake", "case", "x", "3", "5"]),
        ("Köln, ÉTÉ! 東京 Москва", ["köln", "été", "東京", "москва"]),
        ("🙂 ... \n", []),
    ],
)
def test_words_are_sequences_of_letters_and_digits_in_lower_case(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("summary", "reference", "expected"),
    [
        # ROUGE-1: the texts of 3 and 6 words have 3 words in common, 2 * 3 / 9. ROUGE-2: of their 2 and 5 bigrams, one
        # ("the cat") is in both, 2 * 1 / 7. ROUGE-L: the longest common subsequence is "the cat mat", 2 * 3 / 9.
        ("the cat mat", "The cat sat on a mat.", (6 / 9, 2 / 7, 6 / 9)),
        # ROUGE-1: "the the" and "the" have only one "the" in common, 2 * 1 / 3
        ("the the", "the", (2 / 3, 0, 2 / 3)),
        # In reverse order, all words but no bigrams are in both texts; the longest common subsequence has one word
        ("a b c", "c b a", (1, 0, 1 / 3)),
        # 3 of 4 words and 1 of 3 bigrams ("the gunman") are in both texts, the longest common subsequence has 3 words
        ("police kill the gunman", "police killed the gunman", (3 / 4, 1 / 3, 3 / 4)),
        # The longest common subsequence is "the gunman"
        ("the gunman kill police", "police killed the gunman", (3 / 4, 1 / 3, 2 / 4)),
        ("same words", "Same, words!", (1, 1, 1)),
        ("one", "one", (1, 1, 1)),
        ("one", "two", (0, 0, 0)),  # neither text has a bigram
        ("", "", (1, 1, 1)),
        ("", "a b", (0, 0, 0)),
        ("x y", "a b", (0, 0, 0)),
    ],
)
def test_hand_computed_values(summary, reference, expected):
    assert rouge(summary, reference) == Rouge(*(pytest.approx(value) for value in expected))


@pytest.mark.parametrize(
    ("a", "b", "length"), [("abcbdab", "bdcaba", 4), ("aaaa", "aa", 2), ("", "a", 0), ("ab", "", 0)]
)
def test_the_longest_common_subsequence(a, b, length):
    assert common_length(a, b) == common_length(b, a) == length


def test_scores_are_means_over_pairs():
    assert mean_rouge(["a b", "x"], ["a b", "y"]) == Rouge(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        mean_rouge(["a", "b"], ["a"])
