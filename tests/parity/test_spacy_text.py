"""From text to numbers: hashes, character tables, the files of rules and tables. spaCy and Python say what is right."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts import strict_json
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.families.spacy_ner import SpacySpec
from onnx_ml_bridge.runtime.spacy_ner.characters import CharacterSet
from onnx_ml_bridge.runtime.spacy_ner.hashing import murmur64a, row_words
from onnx_ml_bridge.runtime.spacy_ner.lexicon import Lexicon
from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables
from safetensors.numpy import load_file, save_file
from spacy.lang.lex_attrs import word_shape
from spacy.strings import get_string_id, hash_string
from spacy.symbols import IDS
from spacy_rules import rules_of
from thinc.api import NumpyOps

TINY = Path(__file__).parents[1] / "golden" / "valid" / "tiny-spacy"
EVERY = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
TEXTS = st.text(max_size=40)
CHARACTERS = rules_of("en").characters


@given(TEXTS)
@example("")
@example("a" * 200)
def test_strings_have_spacys_hashes(text):
    assert murmur64a(text.encode()) == hash_string(text)


def test_hashes_by_hand():
    assert murmur64a(b"", seed=0) == 0
    assert len({murmur64a(b"abcdefghi"[:size]) for size in range(10)}) == 10
    assert murmur64a(b"coffee") == 3197928453018144401  # as spaCy's documentation has it


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**32 - 1))
@example([0, 1, 2**63, 2**64 - 1], 0)
@example([7], 2**32 - 1)
def test_table_rows_have_thincs_hashes(numbers, seed):
    array = np.array(numbers, np.uint64)
    expected = NumpyOps().hash(array, seed).astype(np.uint64) if numbers else np.zeros((0, 4), np.uint64)
    assert (row_words(array, seed) == expected).all()


@given(TEXTS)
def test_numbers_of_strings_are_spacys(text):
    assert LEXICON.string_id(text) == get_string_id(text)


def test_symbols_come_before_hashes():
    for name in ["", *IDS]:
        assert LEXICON.string_id(name) == get_string_id(name)
    assert LEXICON.string_id("ORTH") == IDS["ORTH"] != hash_string("ORTH")


def test_every_character_is_what_python_says():
    assert [letter for letter in EVERY if CHARACTERS.is_space(letter) != letter.isspace()] == []
    assert [letter for letter in EVERY if CHARACTERS.to_lower(letter) != letter.lower()] == []
    assert [letter for letter in EVERY if CHARACTERS.shape(letter) != word_shape(letter)] == []


# Letters around a sigma decide whether it is a final one: cased ones, ignored ones, some that are both or neither
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


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_sets_of_characters(points, asked):
    bounds = [bound for point in sorted(points) for bound in (point, point + 1)]
    joined = tuple(bound for bound in bounds if bounds.count(bound) == 1)
    assert (chr(asked) in CharacterSet(joined)) == (asked in points)


# -- The file of rules


RULES: dict[str, Any] = strict_json.parse((TINY / "spacy_tokenizer.json").read_bytes(), "rules")


def code_of_rules(raw: bytes, folder: Path) -> str | None:
    (folder / "rules.json").write_bytes(raw)
    return code_of(lambda: read_rules(folder / "rules.json"))


def code_of(call: Callable[[], object]) -> str | None:
    try:
        call()
    except ArtifactError as error:
        return error.code
    return None


def put(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(rules: dict[str, Any]) -> None:
        index: Any = rules
        for step in path[:-1]:
            index = index[step]
        index[path[-1]] = to

    return change


SET = "a set of characters"
BROKEN = {
    **{f"no {key}": (lambda rules, key=key: rules.pop(key)) for key in RULES},
    **{f"{key} is null": put(key, to=None) for key in RULES if key != "infix"},
    **{f"no characters.{key}": (lambda rules, key=key: rules["characters"].pop(key)) for key in RULES["characters"]},
    "another key": put("extra", to=1),
    "version 2": put("version", to=2),
    "version as float": put("version", to=1.0),
    "version as truth": put("version", to=True),
    "no Unicode version": put("unicode", to=""),
    "another key of an affix": put("prefix", 0, "extra", to=1),
    "an affix as text": put("suffix", 0, to="a$"),
    "affixes as an object": put("prefix", to={}),
    "a window of nothing": put("prefix", 0, "window", to=0),
    "a window below nothing": put("suffix", 0, "window", to=-1),
    "a window as float": put("suffix", 0, "window", to=1.0),
    "a window as truth": put("suffix", 0, "window", to=True),
    "a pattern that does not end": put("prefix", 0, "pattern", to="(a"),
    "a pattern that repeats nothing": put("suffix", 0, "pattern", to="*"),
    "an infix that does not end": put("infix", to="[a"),
    "an infix as list": put("infix", to=["a"]),
    "a match without first": put("token_match", 0, to={"pattern": "a"}),
    "a match as number": put("url_match", 0, "pattern", to=1),
    "a first of odd length": put("token_match", 0, "first", to=[1]),
    "a first as text": put("url_match", 0, "first", to="a"),
    "a special that does not join": put("specials", "don't", to=[["do", None], ["nt", None]]),
    "a special without tokens": put("specials", "don't", to=[]),
    "a special of nothing": put("specials", "", to=[]),
    "a special with an empty token": put("specials", "don't", to=[["don't", None], ["", None]]),
    "a special token of three": put("specials", "don't", to=[["don't", None, None]]),
    "a special token as text": put("specials", "don't", to=["don't"]),
    "a norm as number": put("specials", "don't", to=[["don't", 1]]),
    "a sequence of nothing": put("sequences", 0, to=[]),
    "a sequence with an empty token": put("sequences", 0, to=["a", ""]),
    "a sequence as text": put("sequences", 0, to="ab"),
    "a symbol as float": put("symbols", "ORTH", to=1.0),
    "a symbol as text": put("symbols", "ORTH", to="1"),
    "a symbol below nothing": put("symbols", "ORTH", to=-1),
    "another key of characters": put("characters", "extra", to=[]),
    "a set descending": put("characters", "alpha", to=[9, 5]),
    "a set with an empty range": put("characters", "alpha", to=[5, 5]),
    "a set of odd length": put("characters", "digit", to=[1, 2, 3]),
    "a set beyond the last character": put("characters", "upper", to=[5, 0x110001]),
    "a set below the first character": put("characters", "upper", to=[-1, 5]),
    "a set of floats": put("characters", "space", to=[1.0, 2.0]),
    "lower of two characters": put("characters", "lower", "AB", to="ab"),
    "lower of no character": put("characters", "lower", "", to="a"),
    "lower as a list": put("characters", "lower", to=[]),
    "lower to a number": put("characters", "lower", "A", to=97),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_broken_rules_are_refused(change, tmp_path):
    rules = copy.deepcopy(RULES)
    change(rules)
    assert code_of_rules(strict_json.canonical_line(rules), tmp_path) == "tokenizer"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b"\xff", b'{"a":NaN}', b'{"a":"\\ud800"}']
)
def test_rules_that_are_no_json_object_are_refused(raw, tmp_path):
    assert code_of_rules(raw, tmp_path) == "tokenizer"


def test_few_rules_are_allowed(tmp_path):
    rules = RULES | {
        "prefix": [],
        "suffix": [],
        "infix": None,
        "token_match": [],
        "url_match": [],
        "specials": {},
        "sequences": [],
        "symbols": {},
    }
    assert code_of_rules(strict_json.canonical_line(rules), tmp_path) is None
    assert code_of_rules(strict_json.canonical_line(RULES), tmp_path) is None


# -- The file of tables


SPEC = read_artifact(TINY).manifest.section(SpacySpec)
LEXICON = Lexicon(rules_of("en"), read_tables(TINY / SPEC.tables, SPEC), [SPEC.ner])
TENSORS = load_file(TINY / SPEC.tables)


def reverse(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: tensors[name][::-1].copy()})


WRONG_TABLES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {name}": (lambda tensors, name=name: tensors.pop(name)) for name in TENSORS},
    **{
        f"{name} as float64": (lambda tensors, name=name: tensors.update({name: tensors[name].astype(np.float64)}))
        for name in TENSORS
    },
    **{
        f"{name} has a row": (lambda tensors, name=name: tensors.update({name: tensors[name][None]}))
        for name in TENSORS
    },
    **{
        f"{name} too short": (lambda tensors, name=name: tensors.update({name: tensors[name][:-1]}))
        for name in TENSORS
        if not name.startswith(("norm", "vector"))
    },
    "one more": lambda tensors: tensors.update(extra=np.zeros(1, np.float32)),
    "norms descending": reverse("norm.keys"),
    "vectors descending": reverse("vector.keys"),
    "a norm twice": lambda tensors: tensors["norm.keys"].__setitem__(1, tensors["norm.keys"][0]),
    "norms of two lengths": lambda tensors: tensors.update({"norm.values": tensors["norm.values"][:-1]}),
    "vectors of two lengths": lambda tensors: tensors.update({"vector.rows": tensors["vector.rows"][:-1]}),
    "a negative row": lambda tensors: tensors["vector.rows"].__setitem__(0, -1),
    "infinity": lambda tensors: tensors["ner.bias"].__setitem__(0, np.inf),
    "no number": lambda tensors: tensors["parser.pad"].__setitem__((1, 1), np.nan),
}


@pytest.mark.parametrize("change", WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_wrong_tables_are_refused(change, tmp_path):
    tensors = {name: tensor.copy() for name, tensor in TENSORS.items()}
    change(tensors)
    save_file(tensors, tmp_path / "tables.safetensors")
    assert code_of(lambda: read_tables(tmp_path / "tables.safetensors", SPEC)) == "tokenizer"


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_tables_that_end_early_are_refused(size, tmp_path):
    (tmp_path / "tables.safetensors").write_bytes((TINY / SPEC.tables).read_bytes()[:size])
    assert code_of(lambda: read_tables(tmp_path / "tables.safetensors", SPEC)) == "tokenizer"
