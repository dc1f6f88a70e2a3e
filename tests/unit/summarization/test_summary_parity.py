"""The parity of summaries: differences, ties, golden cases, inputs, references, evidence and the report."""

import json
from dataclasses import replace

import pytest
from onnx_ml_bridge import BuildError, Summarizer
from onnx_ml_bridge.artifacts.facts import headline_row
from onnx_ml_bridge.artifacts.families.summarization import (
    SUMMARIZATION,
    ExpectedSummary,
    GenerationDefaults,
    SummaryCase,
)
from onnx_ml_bridge.artifacts.golden import read_golden
from onnx_ml_bridge.artifacts.manifest import (
    FileEntry,
    GoldenSpec,
    Graph,
    Machine,
    Manifest,
    ParitySpec,
    Source,
    Variant,
)
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.parity.proof import Proof, write_evidence
from onnx_ml_bridge.parity.summarization.evaluation import evaluate, golden_cases
from onnx_ml_bridge.parity.summarization.inputs import SummaryInput, summary_inputs
from onnx_ml_bridge.parity.summarization.original import OriginalSummary
from onnx_ml_bridge.parity.summarization.references import Reference, read_references, references_hash
from onnx_ml_bridge.parity.summarization.report import Words, compared_words, rows, write_report
from onnx_ml_bridge.runtime.summarization.summarizer import BeamSearchSummarizer, summarize_with_settings
from pages import Page
from small_summarizers import DEFAULTS, MAX_TOKENS, SPEC, make_model

EVIL = "<script>alert('x')</script><img src=//evil.example> & \"q\" \x00\x1b[31m \u202eabc\u202c </bdi></main>"
TEXTS = ["the cat sleeps", "a dog runs", "x" * 60, EVIL[:28], "one", "two three", "Öl 🙂"]
INPUTS = [SummaryInput((text,), DEFAULTS) for text in TEXTS]
GATES = {"fp32": {"differing": 0.0}, "int8": {"rouge_l": 0.7, "sealed_same": 0.9}}
MACHINE = Machine("CPU", ("avx2",), 2)


@pytest.fixture(scope="module")
def summarizer(tmp_path_factory):
    return Summarizer(BeamSearchSummarizer(make_model(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def original(summarizer):
    found = summarize_with_settings(summarizer, [each.messages for each in INPUTS], [each.settings for each in INPUTS])
    return [OriginalSummary(ExpectedSummary(each.text, each.token_ids), each.score, each.truncated) for each in found]


def evaluated(summarizer, original, gates=GATES, references=()):
    return evaluate(INPUTS, original, dict.fromkeys(["fp32", *gates], summarizer), gates, references)


def with_other_ids(original: OriginalSummary, score: float) -> OriginalSummary:
    return replace(original, expected=ExpectedSummary("other words", (2, 0, 9, 2)), score=score)


def test_equal_summaries_pass(summarizer, original):
    parity = evaluated(summarizer, original)
    assert parity.failures == {"fp32": [], "int8": []}
    assert parity.comparisons["fp32"].metrics == {
        "differing": 0,
        "ties": 0,
        "tie_share": 0,
        "rouge_1": 1,
        "rouge_2": 1,
        "rouge_l": 1,
        "token_mismatches": 0,
    }
    assert parity.comparisons["int8"].metrics["sealed_same"] == 1


def test_other_summaries_differ_unless_their_scores_tie(summarizer, original):
    changed = list(original)
    changed[0] = with_other_ids(original[0], original[0].score + 2e-5)
    changed[1] = with_other_ids(original[1], original[1].score + 5e-6)
    changed[2] = replace(original[2], truncated=False)
    changed[4] = replace(original[4], expected=replace(original[4].expected, text="One"))
    found = evaluated(summarizer, changed).comparisons["fp32"]
    assert (found.differing, found.ties) == ((0, 2, 4), (1,))
    assert (found.metrics["differing"], found.metrics["ties"], found.metrics["token_mismatches"]) == (3, 1, 1)
    assert found.metrics["rouge_1"] == pytest.approx(5 / 7)  # in two of seven pairs, no word is in both
    assert evaluated(summarizer, changed).failures["fp32"] == ["differing is 3, expected <= 0"]


def test_the_default_gate_bounds_the_share_of_ties(summarizer, original):
    inputs, reference = INPUTS * 29, original * 29  # 203 inputs, so that two of them are less than 1%
    gates = {"fp32": SUMMARIZATION.gates["fp32"]}
    for ties, failures in ((2, []), (3, ["tie_share is 0.0147783, expected <= 0.01"])):
        changed = [with_other_ids(each, each.score) for each in reference[:ties]] + reference[ties:]
        parity = evaluate(inputs, changed, {"fp32": summarizer}, gates)
        metrics = parity.comparisons["fp32"].metrics
        assert (metrics["differing"], metrics["ties"], parity.failures["fp32"]) == (0, ties, failures)
        assert metrics["tie_share"] == pytest.approx(ties / 203)
        assert f"tie share {ties / 203:.2%}" in headline_row(SUMMARIZATION, metrics)


def test_a_difference_in_truncation_is_not_a_tie(summarizer, original):
    changed = [replace(with_other_ids(original[0], original[0].score), truncated=True), *original[1:]]
    assert evaluated(summarizer, changed).comparisons["fp32"].differing == (0,)


def test_a_variant_that_depends_on_the_batch_fails(summarizer, original, monkeypatch, tmp_path):
    other = Summarizer(BeamSearchSummarizer(make_model(tmp_path)))
    run = other.backend._session.run

    def depending(outputs, feeds, watch):
        sequences, scores = run(outputs, feeds, watch)
        return (sequences[:, :2] if len(sequences) > 1 else sequences), scores

    monkeypatch.setattr(other.backend._session, "run", depending)
    parity = evaluate(INPUTS, original, {"int8": other}, {"int8": GATES["int8"]})
    assert parity.comparisons["int8"].metrics["sealed_same"] == 0
    assert "sealed_same is 0, expected >= 0.9" in parity.failures["int8"]


def test_golden_cases_omit_ties_and_include_the_summaries_of_inexact_variants(summarizer, original, tmp_path):
    changed = [original[0], with_other_ids(original[1], original[1].score), *original[2:]]
    parity = evaluated(summarizer, changed)
    cases = golden_cases(parity)
    assert [case.input for case in cases] == [(text,) for index, text in enumerate(TEXTS) if index != 1]
    assert all(set(case.sealed) == {"int8"} for case in cases)
    assert cases[0].expected == cases[0].sealed["int8"] == original[0].expected
    assert write_evidence(SUMMARIZATION, parity, MACHINE, {"python": "3"}, tmp_path) == 6
    assert read_golden(tmp_path / "golden.jsonl", SummaryCase) == cases
    evidence = json.loads((tmp_path / "parity.json").read_text())
    assert evidence["texts"] == {"all": 7, "truncated": 1} and "references" not in evidence
    (tie,) = evidence["variants"]["fp32"]["ties"]
    assert (tie["original"]["text"], tie["variant"]["text"]) == ("other words", "a dog runs")


def test_golden_cases_are_about_24_of_many_inputs(summarizer, original):
    parity = evaluated(summarizer, original)
    many = replace(
        parity,
        inputs=INPUTS * 9,
        original=original * 9,
        comparisons={name: replace(each, summaries=each.summaries * 9) for name, each in parity.comparisons.items()},
    )
    assert 24 <= len(golden_cases(many)) <= 32


def test_references_are_read_and_compared(summarizer, original, tmp_path):
    file = tmp_path / "references.jsonl"
    file.write_text('{"text":"the cat sleeps","summary":"the cat"}\n{"messages":["a","b"],"summary":"a b"}\n')
    references = read_references(file)
    assert [each.messages for each in references] == [("the cat sleeps",), ("a", "b")]
    parity = evaluated(summarizer, original, references=references)
    assert parity.comparisons["fp32"].metrics["rouge_l_reference"] == pytest.approx((0.8 + 1) / 2)
    assert "rouge_l_drop" not in parity.comparisons["fp32"].metrics
    assert parity.comparisons["int8"].metrics["rouge_l_drop"] == 0
    write_evidence(SUMMARIZATION, parity, MACHINE, {}, tmp_path)
    assert json.loads((tmp_path / "parity.json").read_text())["references"] == {
        "sha256": references_hash(references),
        "summaries": 2,
    }
    alone = evaluated(summarizer, original, {"int8": {"rouge_l_drop": 0.5}}, references)
    assert list(alone.comparisons) == ["int8"] and alone.failures == {"int8": []}


def test_the_drop_against_references_is_that_of_the_variant(summarizer, original, tmp_path):
    spec = replace(SPEC, defaults=replace(DEFAULTS, max_length=9))
    worse = Summarizer(BeamSearchSummarizer(make_model(tmp_path, spec=spec)))
    references = [Reference(("the cat sleeps",), "the cat sleeps")]
    parity = evaluate(
        INPUTS, original, {"fp32": summarizer, "int8": worse}, {"int8": {"rouge_l_drop": 0.5}}, references
    )
    # The summary "the cat" and the reference "the cat sleeps" have two words in common. F1 is 2 * 2 / 5 = 0.8, which is
    # 20 points lower than that of the original.
    assert parity.comparisons["int8"].metrics["rouge_l_drop"] == pytest.approx(20)
    assert parity.failures["int8"] == ["rouge_l_drop is 20, expected <= 0.5"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        "[]",
        '{"text":"a"}',
        '{"summary":"a"}',
        '{"text":1,"summary":"a"}',
        '{"text":"a","summary":null}',
        '{"text":"a","messages":["a"],"summary":"a"}',
        '{"messages":"a","summary":"a"}',
        '{"messages":[],"summary":"a"}',
        '{"text":" ","summary":"a"}',
        '{"text":"a","summary":"a","x":1}',
    ],
)
def test_invalid_references_are_refused_with_their_line(line, tmp_path):
    (tmp_path / "file").write_text('{"text":"a","summary":"a"}\n' + line + "\n")
    with pytest.raises(BuildError, match="line 2") as refused:
        read_references(tmp_path / "file")
    assert refused.value.code == "config"
    with pytest.raises(BuildError, match="nowhere"):
        read_references(tmp_path / "nowhere")


def test_inputs_are_deterministic_and_vary_in_length():
    inputs = summary_inputs(DEFAULTS, 128, 96)
    assert inputs == summary_inputs(DEFAULTS, 128, 96) and len(inputs) == 60
    own = [each for each in inputs if each.settings == DEFAULTS]
    counts = [len(each.messages) for each in own]
    assert len(own) == 48 and counts.count(1) >= 12 and max(counts) > 6
    assert sum(len(" ".join(each.messages).split()) > 128 for each in own) >= 6
    assert all(message.strip() for each in inputs for message in each.messages)
    others = {each.settings for each in inputs if each.settings != DEFAULTS}
    assert {each.num_beams for each in others} >= {1, 2, 3} and len(others) == 6


@pytest.mark.parametrize(("limit", "count"), [(None, 60), (60, 60), (100, 60), (30, 30), (16, 15), (1, 1)])
def test_a_selection_contains_inputs_of_all_kinds(limit, count):
    inputs = summary_inputs(DEFAULTS, 128, 96)
    chosen = summary_inputs(DEFAULTS, 128, 96, limit)
    assert len(chosen) == count and set(chosen) <= set(inputs)
    if count > 10:
        assert len({len(each.messages) for each in chosen}) > 3 and len({each.settings for each in chosen}) > 2


@pytest.mark.parametrize(
    "defaults",
    [
        DEFAULTS,
        GenerationDefaults(4, 56, 142, 2.0),
        GenerationDefaults(1, 0, 2, 1.0),
        GenerationDefaults(6, 20, 20, 0.0),
    ],
)
@pytest.mark.parametrize("limit", [None, 1024])
def test_the_settings_of_inputs_are_valid(defaults, limit):
    limit = limit or defaults.max_length
    for each in {entry.settings for entry in summary_inputs(defaults, 32, limit)}:
        assert each.num_beams >= 1 and 0 <= each.min_length <= each.max_length and 2 <= each.max_length <= limit


def test_words_that_the_other_side_lacks_are_marked():
    assert compared_words("a b c d", "a x c d e") == [Words("a", False), Words("b", True), Words("c d", False)]
    assert compared_words("a b", "") == [Words("a b", True)] and compared_words("", "a") == []


def manifest(metrics) -> Manifest:
    graph = Graph("onnx/model.onnx", 10, {"": 20}, "1.18", (), ())
    names = ("onnx/model.onnx", "tokenizer.json", "golden.jsonl", "parity.json")
    files = {name: FileEntry(1000, "0" * 64) for name in names}
    variants = {name: Variant({"generate": graph}, GATES[name], None) for name in metrics}
    return Manifest(
        format_version=1,
        task="summarization",
        task_revision=1,
        engine="transformers",
        name="small",
        version="1",
        source=Source("path", "small", None, "0" * 64, None),
        builder={"onnx-ml-bridge": "1"},
        variants=variants,
        golden=GoldenSpec("golden.jsonl", 1),
        parity=ParitySpec("parity.json", 7, MACHINE, metrics),
        files=files,
        sections={
            "tokenizer": TokenizerSpec("tokenizer.json", 260, MAX_TOKENS, "right", "<pad>", 1),
            "summarization": SPEC,
        },
    )


def test_the_report_shows_summaries_side_by_side_and_escapes_texts(summarizer, original, tmp_path):
    changed = [with_other_ids(original[0], 5.0), with_other_ids(original[1], original[1].score), *original[2:]]
    changed[4] = replace(original[4], expected=replace(original[4].expected, text=EVIL))
    parity = evaluated(summarizer, changed, references=[Reference(("a",), "a")])
    metrics = {name: each.metrics for name, each in parity.comparisons.items()}
    speeds = {"original": 1.0, "fp32": 3.0, "int8": 6.0}
    write_report(Proof(parity, speeds), manifest(metrics), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert not page.all_of("script") and not page.all_of("img") and page.all_of("mark")
    said = " ".join(" ".join(page.texts).split())
    assert "the cat sleeps" in said and "other words" in said and ": a tie" in said and "the same tokens" in said
    assert "4 beams, 0 to 32 tokens, penalty 2" in said and "6.0×" in said
    assert "\x00" not in text and "\u202e" not in text


def test_differing_inputs_come_first_in_the_report(summarizer, original):
    parity = evaluated(summarizer, original)
    many = replace(
        parity,
        inputs=INPUTS * 9,
        original=original * 9,
        comparisons={
            name: replace(each, summaries=each.summaries * 9, differing=(60,))
            for name, each in parity.comparisons.items()
        },
    )
    numbers = [row.number for row in rows(many)]
    assert numbers == [61, *range(1, 24)]
