"""The invalid artifacts and manifests of tests/golden, which both languages read: files, names and error codes."""

from __future__ import annotations

import json
from collections import Counter

import overlays
import pytest
from examples import GOLDEN
from onnx_ml_bridge import ArtifactError
from onnx_ml_bridge.artifacts.errors import ARTIFACT_CODES
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.manifest import parse_manifest
from overlay_operations import apply

MANIFESTS = overlays.manifest_cases()
# The error codes with which a reader refuses a manifest when it has only the bytes of the manifest.
MANIFEST_CODES = {"json", "format_version", "unknown_task", "schema"}
MAX_FILES = 299
every_folder = pytest.mark.parametrize("folder", ["manifests", "invalid"])


def code_of_manifest(raw: bytes) -> str | None:
    try:
        parse_manifest(raw)
    except ArtifactError as error:
        return error.code
    return None


@pytest.mark.parametrize("case", MANIFESTS.values(), ids=lambda case: case.name)
def test_a_manifest_is_accepted_or_refused_with_its_code(case):
    assert code_of_manifest(case.manifest_bytes()) == case.code


@pytest.mark.parametrize(
    "name", sorted(MANIFESTS.keys() & {"valid", "ner-valid", "spacy-valid", "spacy-given", "summary-valid"})
)
def test_a_manifest_is_written_as_it_was_read(name):
    raw = MANIFESTS[name].manifest_bytes()
    assert parse_manifest(raw).to_bytes() == raw


@pytest.mark.families("sentence_embedding")
def test_all_problems_of_a_manifest_are_named_at_once():
    data = json.loads(MANIFESTS["valid"].manifest_bytes())
    del data["tokenizer"]
    data["embedding"]["dim"] = "16"
    data["surprise"] = 1
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(json.dumps(data).encode())
    assert all(word in str(refused.value) for word in ("tokenizer", "dim", "surprise"))


def test_there_are_few_files():
    files = [path for path in GOLDEN.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len([path for path in files if GOLDEN / "released" not in path.parents]) <= MAX_FILES


@every_folder
def test_every_case_has_a_name_of_its_own(folder):
    names = Counter(case["name"] for case in overlays.read_cases(folder))
    assert names and max(names.values()) == 1, names.most_common(3)


def test_every_case_has_a_known_code():
    assert {case.code for case in overlays.manifest_cases(None).values()} == {None, *MANIFEST_CODES}
    # No invalid artifact has the codes `json` and `format_version`, which manifests/ covers, `signature`, which trust/
    # covers, and `variant`, which is an error of a call of `open`.
    expected = set(ARTIFACT_CODES) - {"json", "format_version", "variant", "signature"}
    assert {case.code for case in overlays.artifact_cases(None).values()} == expected


def test_a_case_needs_the_family_of_its_base_and_the_one_it_names():
    every = overlays.manifest_cases(None) | overlays.artifact_cases(None)
    for family in FAMILIES:
        others = [other for other in FAMILIES if other is not family]
        left = {**overlays.manifest_cases(others), **overlays.artifact_cases(others)}
        assert left and left.keys() < every.keys()
    assert not overlays.manifest_cases(()) and not overlays.artifact_cases(())


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ({"text": "é"}, b"old", "é".encode()),
        ({"repeat": [["ab", 2], ["c", 1]]}, b"old", b"ababc"),
        ({"append": "d"}, b"abc", b"abcd"),
        ({"truncate": 1}, b"abc", b"a"),
        ({"flip": 1}, b"abc", b"acc"),
        ({"replace": ["a", "b"]}, b"aca", b"bcb"),
        ({"splice": [[0, "a", ""], [2, "\xff", "xy"], [3, "", "z"]]}, b"ab\xff", b"bxyz"),
        ({"patch": [{"op": "add", "path": "/a~1b/-", "value": 1}]}, b'{"a/b":[]}', b'{\n  "a/b": [\n    1\n  ]\n}\n'),
        ({"patch_compact": [{"op": "move", "from": "/a", "path": "/b"}]}, b'{"a":[]}', b'{"b":[]}\n'),
        ({"patch_compact": [{"op": "copy", "from": "/a", "path": "/b"}]}, b'{"a":1}', b'{"a":1,"b":1}\n'),
        ({"patch_lines": [{"op": "remove", "path": "/0"}]}, b"1\n2\n", b"2\n"),
        ({"patch_lines": [{"op": "replace", "path": "/1", "value": 3}]}, b"1\n2\n", b"1\n3\n"),
    ],
    ids=str,
)
def test_an_operation_computes_the_new_bytes(operation, before, after):
    assert apply(operation, before) == after


@pytest.mark.parametrize(
    "operation",
    [
        {"truncate": 3},
        {"flip": 3},
        {"replace": ["d", ""]},
        {"splice": [[1, "a", "b"]]},
        {"patch": [{"op": "replace", "path": "/b", "value": 1}]},
        {"patch": [{"op": "remove", "path": ""}]},
        {"melt": 1},
    ],
    ids=str,
)
def test_an_operation_that_does_not_fit_is_refused(operation):
    with pytest.raises((ValueError, LookupError)):
        apply(operation, b"{}" if "patch" in operation else b"abc")
