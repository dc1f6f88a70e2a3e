"""Reading spacy_tokenizer.json: invalid files are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples import VALID
from onnx_ml_bridge.artifacts import strict_json
from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
from refusing import artifact_code

TINY = VALID / "tiny-spacy"
RULES: dict[str, Any] = strict_json.parse((TINY / "spacy_tokenizer.json").read_bytes(), "rules")


def code_of_rules(raw: bytes, folder: Path) -> str | None:
    (folder / "rules.json").write_bytes(raw)
    return artifact_code(lambda: read_rules(folder / "rules.json"))


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
def test_invalid_rules_are_refused(change, tmp_path):
    rules = copy.deepcopy(RULES)
    change(rules)
    assert code_of_rules(strict_json.canonical_line(rules), tmp_path) == "tokenizer"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b"\xff", b'{"a":NaN}', b'{"a":"\\ud800"}']
)
def test_rules_must_be_a_json_object(raw, tmp_path):
    assert code_of_rules(raw, tmp_path) == "tokenizer"


def test_empty_rules_are_valid(tmp_path):
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
