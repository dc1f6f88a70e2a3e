"""The report of named entities: its content, and that no text can break the page or load anything."""

import re
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from examples import examples_of
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.family import Family
from onnx_ml_bridge.artifacts.manifest import Manifest, Variant
from onnx_ml_bridge.artifacts.ner import NER, ExpectedEntity
from onnx_ml_bridge.parity.count_plots import count_bins, plot_counts
from onnx_ml_bridge.parity.ner.diff import both_sides, excerpts, segments
from onnx_ml_bridge.parity.ner.evaluation import NerInput, evaluate
from onnx_ml_bridge.parity.ner.original import OriginalEntities
from onnx_ml_bridge.parity.ner.report import samples, write_ner_report
from onnx_ml_bridge.parity.page import flowing, share, visible
from onnx_ml_bridge.parity.proof import Proof
from onnx_ml_bridge.runtime.entities import Entities, EntitySpan, entities_from_spans
from pages import Page

FAMILIES = tuple(examples_of(NER))
EVIL = "<script>alert('x')</script><img src=//evil.example> & \"q\" \x00\x1b[31m\x1c \u202eabc\u202c </bdi></main>"
HUGE = "x" * 200_000
RTL = "אברהם לינקולן נולד בקנטקי ב-1809."
PLAIN = "Kofi Annan met Ada Lovelace in Paris on Monday to sign the lease."
LONG = "Kofi Annan went to Paris. " + "word " * 3000 + "Then Ada Lovelace left for London. " + "word " * 3000


class Fixed:
    """A recognizer that returns prepared answers."""

    name = version = variant = "fixed"

    def __init__(self, answers):
        self._answers = answers

    def recognize(self, texts, options):
        return [self._answers[text] for text in texts]


def manifest(variants=("fp32",), family: Family = FAMILIES[0]) -> Manifest:
    """Return the manifest of the family's example, with the given variants."""
    example = read_artifact(examples_of(NER)[family]).manifest
    graphs = example.variants["fp32"].graphs
    gates = {name: {"differing": 0} if name == "fp32" else {"entity_f1": 0.5} for name in variants}
    source = replace(example.source, id="x<b>")
    made = {name: Variant(graphs, gate, None) for name, gate in gates.items()}
    return replace(example, source=source, variants=made)


def entities(text, *indices) -> Entities:
    return Entities(
        entities_from_spans(text, [EntitySpan(start, end, label) for start, end, label in indices]),
        len(text.split()),
        False,
    )


def parity(texts, original, **variants):
    inputs = [NerInput(text) for text in texts]
    expected = [
        OriginalEntities(
            tuple(ExpectedEntity(e.start, e.end, e.label, e.score) for e in found.entities),
            found.tokens,
            found.truncated,
        )
        for found in original
    ]
    recognizers = {name: Fixed(dict(zip(texts, answers, strict=True))) for name, answers in variants.items()}
    return evaluate(inputs, expected, recognizers, {name: {"differing": 0} for name in variants})


def page_of(evaluated, made, tmp_path, speeds=None, family: Family = FAMILIES[0]):
    path = tmp_path / "report.html"
    proof = Proof(evaluated, speeds or {})
    write_ner_report(family, proof, made, path, original="the original", preprocessor="rules")
    text = path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    return Page(text), text


PEOPLE = ((0, 10, "PERSON"), (15, 27, "PERSON"), (31, 36, "GPE"))


def test_differing_documents_show_both_sides(tmp_path):
    original, variant = entities(PLAIN, *PEOPLE), entities(PLAIN, *PEOPLE[:2], (28, 36, "GPE"))
    evaluated = parity([PLAIN, RTL], [original, entities(RTL)], int8=[variant, entities(RTL)])
    page, text = page_of(evaluated, manifest(variants=("int8",)), tmp_path, {"original": 10.0, "int8": 25.0})
    alone = [mark for mark in page.all_of("mark") if mark.get("class") == "unmatched" and "title" in mark]
    assert [mark["title"] for mark in alone] == ["found only by the original", "found only by int8"]
    assert "Paris" in page.texts and "in Paris" in page.texts and "1 of 2" in " ".join(text.split())
    assert {"−", "+"} <= set(page.texts)  # signs show differences without colors
    assert "2.5×" in page.texts and "25 words/s instead of 10" in page.texts
    assert "✗ missed" in text and "differing is 1, expected &lt;= 0" in text


def test_samples_are_shown_if_no_document_differs(tmp_path):
    found = [entities(PLAIN, *PEOPLE), entities(RTL, (0, 13, "PERSON"))]
    page, text = page_of(parity([PLAIN, RTL], found, fp32=found), manifest(), tmp_path)
    assert "Every one of 2 documents has the" in " ".join(text.split())
    assert "Samples" in page.texts and {"Kofi Annan", "Ada Lovelace", "Paris"} <= set(page.texts)
    assert not [mark for mark in page.all_of("mark") if mark.get("class") == "unmatched"]
    assert all(attributes.get("dir") == "auto" for attributes in page.all_of("bdi"))


def test_samples_include_rare_labels():
    texts = [f"Someone number {number} walked along the quiet river bank." for number in range(30)]
    found = [entities(text, *((index, index + 1, "A") for index in range(9))) for text in texts]
    found[20] = entities(texts[20], (0, 7, "B"))
    found[25] = entities(texts[25], (0, 7, "C"), (8, 14, "D"))
    chosen = [sample.number - 1 for sample in samples(parity(texts, found, fp32=found))]
    assert len(chosen) == 8 and {20, 25} <= set(chosen) and chosen == sorted(chosen)


def test_no_text_breaks_the_page_or_loads_anything(tmp_path):
    texts = [EVIL, HUGE, RTL, LONG, "", " \u00a0", "\ud7ff\ufeff\u200b"]
    label = "</mark><script>\x07"
    original = [entities(text, *([(0, min(len(text), 150_000), label)] if text else [])) for text in texts]
    variant = [entities(text) for text in texts]
    page, text = page_of(
        parity(texts, original, fp32=original, odd=variant), manifest(variants=("fp32", "odd")), tmp_path
    )
    assert len(text) < 300_000
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "base", "form", "a"}
    (policy,) = [meta["content"] for meta in page.all_of("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on")} | set(attributes) & {
            "src",
            "srcset",
            "action",
        }
        assert all((value or "").startswith("#") for name, value in attributes.items() if name.endswith("href"))
    assert "http" not in re.sub(r'http-equiv|xmlns(:\w+)?="[^"]*"', "", text) and "url(http" not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert "[U+202E]abc[U+202C]" in text and "[U+0000][U+001B][31m[U+001C]" in text
    assert "␣[NBSP]" in text


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_report_shows_the_facts_of_its_family(family, tmp_path):
    found, made = [entities(PLAIN, *PEOPLE)], manifest(family=family)
    page, _ = page_of(parity([PLAIN], found, fp32=found), made, tmp_path, family=family)
    said = " ".join(" ".join(page.texts).split())
    for title, fact in family.facts(made).items():
        assert title[0].upper() + title[1:] in page.texts and fact in said
    assert "the original, on the same documents" in said and "of rules" in said


def test_labels_are_counted_and_settings_are_named(tmp_path):
    original, variant = entities(PLAIN, *PEOPLE), entities(PLAIN, *PEOPLE[1:], (40, 46, "<new>"))
    evaluated = parity([PLAIN], [original], int8=[variant])
    evaluated.inputs[0] = replace(evaluated.inputs[0], aggregation_strategy="max", stride=8)
    _, text = page_of(evaluated, manifest(("int8",)), tmp_path)
    rows = re.search(r'<table class="labels">(.*?)</table>', text, re.DOTALL)[1]
    figures = [re.findall(r'<td class="num[^"]*">([\d,.%]+)', row) for row in rows.split("<tr>")[3:]]
    assert figures == [
        ["2", "1", "1", "66.67%"],
        ["1", "1", "1", "100%"],
        ["0", "1", "0", "0.00%"],
        ["3", "3", "2", "66.67%"],
    ]
    assert "strategy max, stride 8" in text


def test_the_report_works_without_any_entity(tmp_path):
    page, text = page_of(parity([""], [entities("")], fp32=[entities("")]), manifest(), tmp_path)
    assert "No document has any entity." in text and "What it finds" not in page.texts


def test_equal_results_have_byte_identical_reports(tmp_path):
    found = [entities(PLAIN, *PEOPLE)]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    pages = [page_of(parity([PLAIN], found, fp32=found), manifest(), tmp_path / name)[1] for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_pieces_of_overlapping_entities_join_to_the_text():
    source = Random(5)
    for _ in range(300):
        text = "".join(source.choice("ab \n") for _ in range(source.choice((0, 5, 40, 3000))))
        indices = [
            sorted((source.randint(0, len(text)), source.randint(0, len(text)))) for _ in range(source.randint(0, 6))
        ]
        found = entities(text, *((start, end, "X") for start, end in indices)).entities
        windows = excerpts(text, [index for both in indices for index in both])
        shown = segments(text, found, windows)
        assert "".join(piece.text for piece in shown) == "".join(text[start:end] for start, end in windows)
        assert all(first < second for (_, first), (second, _) in pairwise(windows))
        assert sum(end - start for start, end in windows) <= 3000
        if len(text) <= 600:
            assert sum(piece.label is not None for piece in shown) == len(found)


def test_long_texts_are_cut_to_excerpts_around_the_differences():
    position = LONG.index("Ada Lovelace")
    sides = both_sides(LONG, [], entities(LONG, (position, position + 12, "PERSON")).entities)
    shown = "".join(piece.text for piece in sides.variant)
    assert "Then Ada Lovelace left" in shown and "Kofi" not in shown and len(shown) < 250
    assert [piece.is_gap for piece in sides.variant][:: len(sides.variant) - 1] == [True, True]
    assert (sides.original_only, sides.variant_only, sides.hidden) == (0, 1, 0)
    many = entities(LONG, *((position, position + 4, "X") for position in range(0, 20_000, 1000))).entities
    assert both_sides(LONG, many, []).hidden == 15  # excerpts show 5 of 20 entities


def test_of_a_very_long_entity_both_ends_are_shown():
    shown = both_sides(HUGE, [], entities(HUGE, (10, 199_990, "ORG")).entities).variant
    marked = [piece for piece in shown if piece.label]
    assert [(len(piece.text), piece.is_end) for piece in marked] == [(90, False), (90, True)]


def test_bins_of_counts_are_powers_of_two():
    assert count_bins(0) == count_bins(1) == [0, 1] and count_bins(5) == [0, 1, 2, 4, 8]
    svg = plot_counts({"some": [0, 1, 2, 3, 4, 5, 8, 9, 2_000_000], "none": []}, "key", "label")
    assert re.findall(r">\s*(\d+)</text>", svg)[:5] and svg.startswith('<svg role="img" aria-label="label"')
    assert re.search(r">2M</text>", svg)


def test_invisible_characters_are_shown_as_marks():
    assert flowing("a\r\nb\tc") == "a␍↵ b⇥c" and flowing(" ") == " " and flowing("\u00a0") == "[NBSP]"
    assert visible("a\x85\u2066b") == "a[U+0085][U+2066]b" and visible("") == "(empty)"
    assert (share(1.0), share(0.99999), share(0.0)) == ("100%", "99.99%", "0.00%")
