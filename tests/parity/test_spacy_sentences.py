"""The sentences that are computed from the heads and labels of a parse are the same as in spaCy."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ml_bridge.runtime.spacy_ner.tree import Tree
from spacy.pipeline._parser_internals import nonproj
from spacy.tokens import Doc
from spacy.vocab import Vocab


@st.composite
def forests(draw: Any) -> tuple[list[int], list[str], list[int]]:
    """Generate a random parse: heads without cycles, labels (some of them decorated), indices of whitespace tokens."""
    size = draw(st.integers(1, 14))
    order = draw(st.permutations(range(size)))
    heads = [-1] * size
    for index, token in enumerate(order):
        if index and draw(st.integers(0, 4)):
            heads[token] = order[draw(st.integers(0, index - 1))]
    labels = [draw(st.sampled_from(["a", "b", "c", "a||b", "b||c", "c||ROOT", "b||none"])) for _ in range(size)]
    return heads, labels, draw(st.lists(st.integers(0, size - 1), max_size=3))


@settings(max_examples=400, deadline=None)
@given(forests())
def test_sentences_are_spacys(forest):
    heads, labels, spaces = forest
    final = [label if head >= 0 else "ROOT" for head, label in zip(heads, labels, strict=True)]
    doc = Doc(
        Vocab(),
        words=[" " if token in spaces else "w" for token in range(len(heads))],
        heads=[token if head < 0 else head for token, head in enumerate(heads)],
        deps=final,
    )
    nonproj.deprojectivize(doc)
    expected = [token.i for token in doc if token.is_sent_start]
    is_space = np.isin(np.arange(len(heads)), spaces)
    assert Tree(heads, labels, is_space).sentence_starts() == expected
