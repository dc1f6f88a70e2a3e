"""The artifacts of tests/golden: readers accept the valid ones, and refuse each invalid one with its code."""

import json
import shutil
from pathlib import Path

import overlays
import pytest
from examples import VALID as FOLDER
from onnx_ml_bridge import ArtifactError, Embedder, Model, OnnxMlBridge, Recognizer, Reranker, Summarizer, verify
from onnx_ml_bridge.artifacts import errors

VALID = sorted(path.name for path in FOLDER.iterdir())
CASES = overlays.artifact_cases()
# The handle of each task
HANDLES = {"sentence-embedding": Embedder, "ner": Recognizer, "summarization": Summarizer, "rerank": Reranker}
# The invalid artifacts whose error only `verify` detects
VERIFY_ONLY = {name for name in CASES if name.startswith("golden-")} | {"weights-flipped"}


def code_of(call) -> str | None:
    try:
        call()
    except ArtifactError as error:
        return error.code
    return None


def task_of(valid: str) -> str:
    return json.loads(overlays.base_manifest(valid))["task"]


def open_fp32(folder: Path) -> OnnxMlBridge:
    return OnnxMlBridge.open(Model(folder, variant="fp32"))


@pytest.mark.parametrize("task", HANDLES)
def test_an_artifact_is_not_opened_for_another_task(task):
    for name in VALID:
        folder = FOLDER / name
        expected = None if task_of(name) == task else "variant"
        assert code_of(lambda: HANDLES[task].open(folder)) == expected  # noqa: B023


@pytest.mark.parametrize("name", VALID)
def test_valid_artifacts_verify(name):
    report = verify(FOLDER / name)
    # spaCy's networks and small tables of static embeddings have no int8 variant
    assert set(report.variants) == ({"fp32"} if name in ("tiny-spacy", "tiny-static") else {"fp32", "int8"})
    fp32 = report.variants["fp32"]
    assert fp32.cases >= 10
    figures = fp32.figures
    if task_of(name) == "ner":
        assert (figures["differing"], figures["entity_f1"]) == (0, 1.0)
        score = figures["score_max_abs"]
        assert score is None if name == "tiny-spacy" else score <= 1e-5
    elif task_of(name) == "summarization":
        assert figures["differing"] == 0
    else:
        assert figures["max_abs"] <= 1e-5


@pytest.mark.parametrize("name", sorted(CASES))
def test_invalid_artifacts_are_refused_by_verify(name, tmp_path):
    folder = CASES[name].write(tmp_path / name)
    assert code_of(lambda: verify(folder)) == CASES[name].code


@pytest.mark.parametrize("name", sorted(CASES.keys() - VERIFY_ONLY))
def test_invalid_artifacts_are_refused_by_open(name, tmp_path):
    folder = CASES[name].write(tmp_path / name)
    assert code_of(lambda: open_fp32(folder)) == CASES[name].code


@pytest.mark.parametrize("name", sorted(VERIFY_ONLY))
def test_open_does_not_read_the_files_that_only_verify_reads(name, tmp_path):
    assert open_fp32(CASES[name].write(tmp_path / name)).health_check()


def test_open_hashes_only_the_files_of_its_variant(tmp_path):
    corrupted = CASES["weights-flipped"].write(tmp_path / "corrupted")  # changes the int8 weights
    OnnxMlBridge.open(Model(corrupted, variant="fp32")).warm_up()
    assert code_of(lambda: OnnxMlBridge.open(Model(corrupted, variant="int8"))) == "file_hash"


def test_every_family_has_an_example():
    embeddings = ["tiny-embedding", "tiny-matryoshka", "tiny-static"]
    assert sorted(VALID) == sorted(
        [*embeddings, "tiny-gliner", "tiny-ner", "tiny-rerank", "tiny-spacy", "tiny-summary"]
    )


def test_with_all_families_no_case_is_omitted():
    assert overlays.artifact_cases() == overlays.artifact_cases(None)
    assert overlays.manifest_cases() == overlays.manifest_cases(None)


def test_every_code_is_defined_once_in_the_format_text():
    text = (Path(errors.__file__).parent / "FORMAT.md").read_text()
    tables = [table for table in text.split("\n\n") if table.startswith("| code |")]
    listed = [line.split("`")[1] for table in tables for line in table.splitlines()[2:]]
    assert sorted(listed) == sorted(errors.ARTIFACT_CODES + errors.OTHER_CODES)


def test_a_missing_variant_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="fp32 or int8") as refused:
        OnnxMlBridge.open(Model(FOLDER / VALID[0], variant="int4"))
    assert refused.value.code == "variant"


def test_a_copied_artifact_is_valid(tmp_path):
    copied = shutil.copytree(FOLDER / VALID[0], tmp_path / "somewhere else")
    assert verify(copied).identity == verify(FOLDER / VALID[0]).identity
