"""Entities that a language model copied are found in the text, as in the cases that the Rust tests also read."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.backends.align import Copied, align, fold

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/align.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in GOLDEN["cases"]}
TEXTS = st.text(alphabet="aAbİß \n’'–-😀", max_size=30)


@pytest.mark.parametrize("name", CASES)
def test_copies_are_found(name):
    case = CASES[name]
    aligned = align(case["text"], [Copied(text, label, before) for before, text, label in case["copies"]])
    assert [[span.start, span.end, span.label] for span in aligned.spans] == case["spans"]
    assert aligned.dropped == case["dropped"]


def test_every_case_is_read():
    assert len(CASES) == len(GOLDEN["cases"]) >= 20


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_spans_are_in_the_text_and_do_not_overlap(text, copies):
    aligned = align(text, [Copied(copy, "L", before) for before, copy in copies])
    assert len(aligned.spans) + aligned.dropped == len(copies)
    ends = 0
    for span in aligned.spans:
        assert ends <= span.start < span.end <= len(text)
        ends = span.end


@given(TEXTS, st.data())
def test_a_copy_of_a_part_is_found(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    part = text[start:end]
    aligned = align(text, [Copied(part, "L")])
    if part.strip():
        (span,) = aligned.spans
        assert fold(text[span.start : span.end])[0].strip() == fold(part)[0].strip()


def test_a_text_of_one_letter_takes_no_quadratic_time():
    started = time.monotonic()
    aligned = align("a" * 200_000, [Copied("a", "L")] * 20)
    assert len(aligned.spans) == 20 and time.monotonic() - started < 20
