"""The committed examples: what they hold must be judged as they say, by this reader and by the Rust one."""

import json
import shutil
from pathlib import Path

import pytest
from onnx_ml_bridge import ArtifactError, OnnxMlBridge, verify
from onnx_ml_bridge.artifacts import errors
from onnx_ml_bridge.artifacts.manifest import parse_manifest

GOLDEN = Path(__file__).parents[1] / "golden"
VALID = sorted(path.name for path in (GOLDEN / "valid").iterdir())
INVALID = json.loads((GOLDEN / "invalid.json").read_text())
MANIFESTS = json.loads((GOLDEN / "manifests.json").read_text())
# The argument of `open` that takes an artifact of each task
ARGUMENTS = {"sentence-embedding": "embedding", "ner": "ner", "summarization": "summarization"}
# Only `verify` reads these; `open` has no reason to.
VERIFY_ONLY = {name for name in INVALID if name.startswith("golden-")} | {"weights-flipped"}


def code_of(call) -> str | None:
    try:
        call()
    except ArtifactError as error:
        return error.code
    return None


def task_of(folder: Path) -> str:
    """The task, as far as a manifest that may be wrong tells."""
    try:
        return json.loads((folder / "manifest.json").read_bytes())["task"]
    except (OSError, ValueError):
        return "sentence-embedding"


def open_for_its_task(folder: Path) -> OnnxMlBridge:
    return OnnxMlBridge.open(**{ARGUMENTS[task_of(folder)]: folder}, variant="fp32")


@pytest.mark.parametrize("task", ARGUMENTS)
def test_an_artifact_is_not_opened_for_another_task(task):
    for name in VALID:
        folder = GOLDEN / "valid" / name
        argument = ARGUMENTS[task]
        expected = None if task_of(folder) == task else "variant"
        assert code_of(lambda: OnnxMlBridge.open(**{argument: folder})) == expected  # noqa: B023


@pytest.mark.parametrize("name", VALID)
def test_valid_artifacts_verify(name):
    report = verify(GOLDEN / "valid" / name)
    assert set(report.variants) == ({"fp32"} if name == "tiny-spacy" else {"fp32", "int8"})
    fp32 = report.variants["fp32"]
    assert fp32.cases >= 10
    figures = fp32.figures
    if task_of(GOLDEN / "valid" / name) == "ner":
        assert (figures["differing"], figures["entity_f1"]) == (0, 1.0)
        score = figures["score_max_abs"]
        assert score is None if name == "tiny-spacy" else score <= 1e-5
    elif task_of(GOLDEN / "valid" / name) == "summarization":
        assert figures["differing"] == 0
    else:
        assert figures["max_abs"] <= 1e-5


@pytest.mark.parametrize("name", sorted(INVALID))
def test_invalid_artifacts_are_refused_by_verify(name):
    assert code_of(lambda: verify(GOLDEN / "invalid" / name)) == INVALID[name]


@pytest.mark.parametrize("name", sorted(set(INVALID) - VERIFY_ONLY))
def test_invalid_artifacts_are_refused_by_open(name):
    assert code_of(lambda: open_for_its_task(GOLDEN / "invalid" / name)) == INVALID[name]


@pytest.mark.parametrize("name", sorted(VERIFY_ONLY))
def test_open_does_not_read_what_only_verify_does(name):
    assert open_for_its_task(GOLDEN / "invalid" / name).health_check()


def test_open_hashes_only_what_its_variant_uses():
    corrupted = GOLDEN / "invalid" / "weights-flipped"  # the weights of int8
    OnnxMlBridge.open(embedding=corrupted, variant="fp32").warm_up()
    assert code_of(lambda: OnnxMlBridge.open(embedding=corrupted, variant="int8")) == "file_hash"


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_manifest_bytes_are_judged(name):
    raw = (GOLDEN / "manifests" / name).read_bytes()
    assert code_of(lambda: parse_manifest(raw)) == MANIFESTS[name]


def test_all_problems_of_a_manifest_are_named_at_once():
    data = json.loads((GOLDEN / "manifests" / "valid.json").read_bytes())
    del data["tokenizer"]
    data["embedding"]["dim"] = "16"
    data["surprise"] = 1
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(json.dumps(data).encode())
    assert all(word in str(refused.value) for word in ("tokenizer", "dim", "surprise"))


@pytest.mark.parametrize("name", ["valid.json", "ner-valid.json", "spacy-valid.json", "spacy-given.json"])
def test_a_manifest_is_written_as_it_was_read(name):
    raw = (GOLDEN / "manifests" / name).read_bytes()
    assert parse_manifest(raw).to_bytes() == raw


def test_every_kind_of_example_is_there():
    assert VALID == ["tiny-embedding", "tiny-ner", "tiny-spacy", "tiny-summary"]
    for folder, expected in (("invalid", INVALID), ("manifests", MANIFESTS)):
        assert {path.name for path in (GOLDEN / folder).iterdir()} == set(expected)
    assert set(INVALID.values()) == set(errors.ARTIFACT_CODES) - {"format_version", "json", "unknown_task", "variant"}
    assert set(MANIFESTS.values()) == {"format_version", "json", "schema", "unknown_task", None}


def test_every_code_stands_in_the_format_text_once():
    text = (Path(errors.__file__).parent / "FORMAT.md").read_text()
    tables = [table for table in text.split("\n\n") if table.startswith("| code |")]
    listed = [line.split("`")[1] for table in tables for line in table.splitlines()[2:]]
    assert sorted(listed) == sorted(errors.ARTIFACT_CODES + errors.OTHER_CODES)


def test_a_missing_variant_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="fp32 or int8") as refused:
        OnnxMlBridge.open(embedding=GOLDEN / "valid" / VALID[0], variant="int4")
    assert refused.value.code == "variant"


def test_a_copy_is_as_good_as_the_original(tmp_path):
    copied = shutil.copytree(GOLDEN / "valid" / VALID[0], tmp_path / "somewhere else")
    assert verify(copied).identity == verify(GOLDEN / "valid" / VALID[0]).identity
