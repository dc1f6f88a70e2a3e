"""Hashes and character tables return the same values as spaCy and Python."""

from __future__ import annotations

import sys

import numpy as np
from examples import VALID
from hypothesis import example, given
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
from onnx_ml_bridge.runtime.spacy_ner.hashing import hash_words, murmur64a
from onnx_ml_bridge.runtime.spacy_ner.lexicon import Lexicon
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables
from spacy.lang.lex_attrs import word_shape
from spacy.strings import get_string_id, hash_string
from spacy.symbols import IDS
from spacy_rules import rules_of
from thinc.api import NumpyOps

TINY = VALID / "tiny-spacy"
EVERY = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
TEXTS = st.text(max_size=40)
CHARACTERS = rules_of("en").characters
SPEC = read_artifact(TINY).manifest.section(SpacySpec)
LEXICON = Lexicon(rules_of("en"), read_tables(TINY / SPEC.tables, SPEC), [SPEC.ner])


@given(TEXTS)
@example("")
@example("a" * 200)
def test_strings_have_spacys_hashes(text):
    assert murmur64a(text.encode()) == hash_string(text)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**32 - 1))
@example([0, 1, 2**63, 2**64 - 1], 0)
@example([7], 2**32 - 1)
def test_table_rows_have_thincs_hashes(numbers, seed):
    array = np.array(numbers, np.uint64)
    expected = NumpyOps().hash(array, seed).astype(np.uint64) if numbers else np.zeros((0, 4), np.uint64)
    assert (hash_words(array, seed) == expected).all()


@given(TEXTS)
def test_numbers_of_strings_are_spacys(text):
    assert LEXICON.string_id(text) == get_string_id(text)


def test_symbols_come_before_hashes():
    for name in ["", *IDS]:
        assert LEXICON.string_id(name) == get_string_id(name)
    assert LEXICON.string_id("ORTH") == IDS["ORTH"] != hash_string("ORTH")


def test_character_tables_equal_those_of_python():
    assert [letter for letter in EVERY if CHARACTERS.is_space(letter) != letter.isspace()] == []
    assert [letter for letter in EVERY if CHARACTERS.to_lower(letter) != letter.lower()] == []
    assert [letter for letter in EVERY if CHARACTERS.shape(letter) != word_shape(letter)] == []


# The lower case of a capital sigma depends on the characters around it. These are cased, case-ignorable, both or
# neither.
AROUND_SIGMA = "ΣσΑαaA'.:\u00ad\u0301\u0345\u200d·ªⅧⓐ1 -"
SIGMAS = st.text(alphabet=st.one_of(st.sampled_from(AROUND_SIGMA), st.characters(codec="utf-8")))


@given(SIGMAS)
@example("ΟΔΥΣΣΕΥΣ")
@example("ΑΣ'")
@example("'Σ")
@example("Α\u0345Σ")
def test_lower_case_is_pythons(text):
    assert CHARACTERS.to_lower(text) == text.lower()
    with_sigmas = f"Σ{text}Σ{text}"
    assert CHARACTERS.to_lower(with_sigmas) == with_sigmas.lower()


@given(
    st.text(alphabet=st.one_of(st.sampled_from("aaaaAAAA11--\u0301²Ⅷǅ"), st.characters(codec="utf-8")), max_size=130)
)
@example("a" * 99)
@example("a" * 100)
@example("aaaaaAAAAA11111-----")
def test_shapes_are_spacys(text):
    assert CHARACTERS.shape(text) == word_shape(text)
