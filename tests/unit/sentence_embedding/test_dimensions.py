"""Shorter vectors: the first elements, normalized again, for the dimensions that a manifest lists.

`bridge/tests/dimensions.rs` compares the answers of Rust with tests/golden/embedding-dimensions.json. Run this file as
a script to write it, with the folder `tests/support` in PYTHONPATH.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from examples import VALID
from onnx_ml_bridge import ArtifactError, BuildError, ConfigError, Embedder, EmbedOptions, Model, OnnxMlBridge
from onnx_ml_bridge.artifacts.families import SENTENCE_EMBEDDING
from onnx_ml_bridge.artifacts.families.sentence_embedding import EmbeddingCase, EmbeddingSpec
from onnx_ml_bridge.artifacts.family import gate_misses
from onnx_ml_bridge.artifacts.manifest import parse_manifest
from onnx_ml_bridge.cli.config import ModelConfig, validate
from onnx_ml_bridge.cli.jsonl import Line, LineError, LineFormat, answer_lines
from onnx_ml_bridge.cli.sentence_embedding import EmbedAnswers, parse_entry, to_record
from onnx_ml_bridge.parity.sentence_embedding.comparison import compare_shortened
from onnx_ml_bridge.runtime.dimensions import shortened

MATRYOSHKA, TINY, STATIC = (VALID / name for name in ("tiny-matryoshka", "tiny-embedding", "tiny-static"))
ANSWERS = VALID.parent / "embedding-dimensions.json"
TEXTS = ["the cat sings", "", "a big red house and a small tree", "Ω", "the dog runs in the house" * 20]


@pytest.fixture(scope="module")
def embedder():
    return Embedder.open(Model(MATRYOSHKA, variant="fp32"))


def at(dimensions, **more):
    return EmbedOptions(dimensions=dimensions, **more)


@pytest.mark.parametrize("dimensions", [4, 8])
def test_vectors_have_the_first_elements_and_the_length_1(embedder, dimensions):
    whole = embedder.embed(TEXTS).vectors
    result = embedder.embed(TEXTS, at(dimensions))
    cut = whole[:, :dimensions].astype(np.float64)
    np.testing.assert_allclose(result.vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-7)
    assert result.vectors.dtype == np.float32 and result.vectors.shape == (len(TEXTS), dimensions)
    np.testing.assert_array_equal(result.truncated, embedder.embed(TEXTS).truncated)
    each = embedder.embed_each([*TEXTS, 5], at(dimensions))
    assert each[-1].code == "input_type"
    np.testing.assert_array_equal(np.stack([answer.vector for answer in each[:-1]]), result.vectors)
    assert embedder.embed([], at(dimensions)).vectors.shape == (0, dimensions)


def test_calls_of_the_bridge_take_dimensions():
    bridge = OnnxMlBridge.open(Model(MATRYOSHKA, variant="fp32"))
    expected = bridge.embedder().embed(["cat"], at(4, prompt_name="query")).vectors
    np.testing.assert_array_equal(bridge.generate_embedding("cat", prompt_name="query", dimensions=4), expected[0])
    np.testing.assert_array_equal(
        bridge.generate_embeddings_batch(["cat"], prompt_name="query", dimensions=4), expected
    )


@pytest.mark.parametrize("asked", [5, 16, 0, -4, "4", 4.0, True])
def test_dimensions_that_are_not_listed_are_refused_by_every_call(embedder, asked):
    for call in (embedder.embed, embedder.embed_each):
        with pytest.raises(ConfigError, match="dimensions, expected one of 4, 8") as refused:
            call(["cat"], at(asked))
        assert refused.value.code == "config"
    with pytest.raises(ConfigError, match="expected one of 4, 8"):
        embedder.embed_windows("cat", at(asked))


def test_a_model_that_lists_no_dimensions_has_only_whole_vectors():
    embedder = Embedder.open(TINY)
    with pytest.raises(ConfigError, match="the model lists no dimensions"):
        embedder.embed(["cat"], at(8))
    with pytest.raises(ConfigError, match="the model lists no dimensions"):
        embedder.embed(["cat"], at(16))


def test_windows_and_their_pooled_vector_are_shorter(embedder):
    text = "the cat sings, and the dog sleeps in a small house. " * 40
    whole = list(embedder.embed_windows(text, stride=5))
    windows = embedder.embed_windows(text, at(4), stride=5)
    read = list(windows)
    assert len(read) == len(whole) > 3
    for window, full in zip(read, whole, strict=True):
        np.testing.assert_array_equal(window.vector, shortened(full.vector, 4, normalized=True))
        assert replace(window, vector=full.vector) == full
    pooled = windows.pool()
    assert pooled.shape == (4,) and abs(np.linalg.norm(pooled) - 1) < 1e-6
    (only,) = embedder.embed(["cat"], at(4)).vectors
    np.testing.assert_array_equal(embedder.embed_windows("cat", at(4)).pool(), only)


def test_shortened_vectors_computed_by_hand():
    vectors = np.array([[3, 4, 12], [0, 0, 5]], np.float32)
    np.testing.assert_array_equal(shortened(vectors, 2, normalized=True), np.array([[0.6, 0.8], [0, 0]], np.float32))
    np.testing.assert_array_equal(shortened(vectors, 2, normalized=False), vectors[:, :2])
    for whole in (None, 3):
        assert shortened(vectors, whole, normalized=True) is vectors


def line_codes(lines, dimensions=None):
    embedder = Embedder.open(Model(MATRYOSHKA, variant="fp32"))
    raw = [Line(number, json.dumps(value).encode()) for number, value in enumerate(lines, start=1)]
    answers = answer_lines(EmbedAnswers(embedder, at(dimensions)), raw, LineFormat(1000, parse_entry))
    return [each.code if isinstance(each, LineError) else len(to_record(each[1])["embedding"]) for each in answers]


def test_a_line_can_have_dimensions_of_its_own():
    lines = [{"text": "cat", "dimensions": 8}, "cat", {"text": "cat"}, {"dimensions": 4, "text": "cat"}]
    assert line_codes(lines) == [8, 16, 16, 4]
    assert line_codes(lines, dimensions=4) == [8, 4, 4, 4]


def test_lines_with_other_dimensions_fail_alone():
    wrong = [None, 0, -1, 4.0, "4", True, [4]]
    lines = [*({"text": "cat", "dimensions": each} for each in wrong), {"text": "cat", "dimensions": 5}, "cat"]
    assert line_codes(lines) == ["input_type"] * len(wrong) + ["config", 16]
    assert line_codes([{"dimensions": 4}, {"text": "cat", "size": 4}]) == ["input_type", "bad_line"]


@pytest.mark.parametrize(("folder", "revision"), [(TINY, 1), (MATRYOSHKA, 2), (STATIC, 2)])
def test_only_manifests_with_dimensions_need_the_second_revision(folder, revision):
    raw = (folder / "manifest.json").read_bytes()
    manifest = parse_manifest(raw)
    assert (manifest.section(EmbeddingSpec).revision(), manifest.task_revision) == (revision, revision)
    assert manifest.to_bytes() == raw
    assert (b'"dimensions"' in raw) is (revision == 2)


def test_the_thresholds_of_whole_vectors_apply_unless_the_gate_has_others():
    figures = {"cosine_min": 0.99, "cosine_min_at_8": 0.9, "cosine_min_at_64": 0.95, "max_abs_at_8": 0.1}
    misses = gate_misses(SENTENCE_EMBEDDING.metrics, figures, {"cosine_min": 0.96, "cosine_min_at_8": 0.9})
    assert misses == ["cosine_min_at_64 is 0.95, expected >= 0.96"]
    misses = gate_misses(SENTENCE_EMBEDDING.metrics, figures, {"max_abs": 0.01, "cosine_min_at_64": 0.96})
    assert misses == ["max_abs_at_8 is 0.1, expected <= 0.01", "cosine_min_at_64 is 0.95, expected >= 0.96"]
    assert SENTENCE_EMBEDDING.metric("cosine_min_at_8").title == "cosine min at 8"
    assert SENTENCE_EMBEDDING.metric("cosine_min_at_x") is None


def test_metrics_of_shorter_vectors():
    original = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    variant = np.array([[0.6, 0.8], [0, 1], [0, 0]], np.float32)
    metrics = compare_shortened(original, variant, ["plain", "hard", "hard"])
    assert metrics == {
        "max_abs_at_2": pytest.approx(0.8),
        "cosine_min_at_2": pytest.approx(0.6),
        "cosine_mean_at_2": pytest.approx(0.6),
        "cosine_min_hard_at_2": 1.0,
        "cosine_mean_hard_at_2": 1.0,
    }


def config(gate, **options):
    model = {"name": "a", "version": "1", "task": "sentence-embedding", "source": "x", "options": options}
    return validate(ModelConfig, {**model, "gate": {"int8": gate}}, "the file")


def test_a_gate_names_only_dimensions_of_the_options():
    assert config({"cosine_min_at_8": 0.9}, dimensions=[4, 8]).settings("transformers").gates["int8"]["cosine_min_at_8"]
    for options in ({}, {"dimensions": [4]}):
        with pytest.raises(BuildError, match=r"cosine_min_at_8 requires 8 in options\.dimensions"):
            config({"cosine_min_at_8": 0.9}, **options)
    with pytest.raises(BuildError, match="nearest_at_8"):
        config({"nearest_at_8": 0.9}, dimensions=[8])
    with pytest.raises(BuildError, match=r"options\.dimensions"):
        config({}, dimensions=8)


def test_golden_cases_have_dimensions_only_if_their_call_has_some():
    records = [json.loads(line) for line in (MATRYOSHKA / "golden.jsonl").read_bytes().splitlines()]
    cases = [EmbeddingCase.from_record(record) for record in records]
    assert {case.dimensions for case in cases} == {None, 4, 8}
    assert [case.to_record() for case in cases] == records
    assert all(len(case.expected.vector) == (case.dimensions or 16) for case in cases)
    for wrong in (None, "4", 4.0, True):
        record = json.loads(json.dumps(records[-1]))
        record["settings"]["dimensions"] = wrong
        with pytest.raises(ValueError, match="wrong type"):
            EmbeddingCase.from_record(record)


@pytest.mark.parametrize("folder", [TINY, STATIC])
def test_texts_without_tokens_alone_and_in_a_batch(folder):
    embedder = Embedder.open(Model(folder, variant="fp32"))
    texts = ["", " \n", "the cat"]
    alone = np.concatenate([embedder.embed([text]).vectors for text in texts])
    np.testing.assert_allclose(embedder.embed(texts).vectors, alone, atol=1e-6)
    assert alone[:2].any() == (folder is TINY)
    assert embedder.embed(texts).token_counts.tolist() == ([2, 2, 4] if folder is TINY else [0, 0, 2])
    (window,) = embedder.embed_windows("")
    np.testing.assert_array_equal(window.vector, alone[0])


def test_static_embeddings_read_texts_of_any_length():
    embedder = Embedder.open(STATIC)
    result = embedder.embed(["the cat sings " * 5000])
    assert result.token_counts.tolist() == [15_000] and not result.truncated.any()
    (window,) = embedder.embed_windows("the cat sings " * 5000)
    np.testing.assert_array_equal(window.vector, result.vectors[0])
    with pytest.raises(ArtifactError):
        Embedder.open(Model(STATIC, variant="int8"))


def answers():
    """Return vectors and pooled windows of shorter sizes, as JSON has them."""
    embedder = Embedder.open(Model(MATRYOSHKA, variant="fp32"))
    cases = []
    for text in [*TEXTS, "the cat sings, and the dog sleeps in a small house. " * 9]:
        for prompt in (None, "query"):
            for dimensions in (4, 8):
                options = at(dimensions, prompt_name=prompt)
                vector = embedder.embed([text], options).vectors[0]
                pooled = embedder.embed_windows(text, options, stride=3).pool()
                rows = {"vector": rounded(vector), "pooled": rounded(pooled)}
                cases.append({"text": text, "prompt_name": prompt, "dimensions": dimensions, **rows})
    return cases


def rounded(vector):
    return [round(float(value), 7) for value in vector]


def test_the_stored_answers_for_rust_are_those_of_today():
    stored, today = json.loads(ANSWERS.read_text(encoding="utf-8")), answers()
    assert len(stored) == len(today) > 20
    for before, now in zip(stored, today, strict=True):
        for name in ("vector", "pooled"):
            np.testing.assert_allclose(before.pop(name), now.pop(name), atol=1e-5)
        assert before == now


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in answers())
    ANSWERS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
