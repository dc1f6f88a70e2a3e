"""Hash functions and character sets, on known values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.runtime.spacy_ner.characters import CharacterSet
from onnx_ml_bridge.runtime.spacy_ner.hashing import murmur64a


def test_known_hashes():
    assert murmur64a(b"", seed=0) == 0
    assert len({murmur64a(b"abcdefghi"[:size]) for size in range(10)}) == 10
    assert murmur64a(b"coffee") == 3197928453018144401  # from spaCy's documentation


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_character_sets(points, asked):
    bounds = [bound for point in sorted(points) for bound in (point, point + 1)]
    joined = tuple(bound for bound in bounds if bounds.count(bound) == 1)
    assert (chr(asked) in CharacterSet(joined)) == (asked in points)
