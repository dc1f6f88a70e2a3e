"""Every parser of outside data reads its valid file, and refuses mutated ones with an error of the package."""

from __future__ import annotations

from random import Random

import pytest
from mutations.targets import TARGETS
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError, StoreError
from onnx_ml_bridge.artifacts.store.records import MAX_RECORD_BYTES, TagRecord, VersionRecord

CASES = 60
HASH = "a" * 64

pytestmark = pytest.mark.families("sentence_embedding", "token_classification", "spacy_ner", "summarization", "rerank")


@pytest.mark.parametrize("name", TARGETS)
def test_a_mutated_file_is_valid_or_refused(name, tmp_path):
    """tests/reliability does the same in a child process under limits, with more files."""
    target, path, refused = TARGETS[name], tmp_path / "file", 0
    path.write_bytes(target.valid)
    target.read(path)
    for seed in range(CASES):
        path.write_bytes(target.mutate(target.valid, Random(seed)))
        try:
            target.read(path)
        except OnnxMlBridgeError:
            refused += 1
    assert 0 < refused <= CASES


def test_a_tag_moves_on_and_back():
    first = TagRecord("1.0.0", HASH)
    second = first.moved("1.1.0", "b" * 64)
    assert (second.version, second.revision, second.previous) == ("1.1.0", 2, ("1.0.0",))
    back = second.rolled_back(HASH)
    assert (back.version, back.identity, back.revision) == ("1.0.0", HASH, 3)
    assert TagRecord.from_bytes(second.to_bytes(), "key") == second
    assert b"1.1.0" in second.payload("minilm", "latest")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b" " * (MAX_RECORD_BYTES + 1), b'{"identity":"x"}', b'{"identity":"","yanked":false}']
)
def test_an_invalid_record_is_refused(raw):
    with pytest.raises(StoreError) as refused:
        VersionRecord.from_bytes(raw, "models/minilm/versions/1.0.0")
    assert refused.value.code == "store"
    assert VersionRecord.from_bytes(VersionRecord(HASH, True).to_bytes(), "key") == VersionRecord(HASH, True)
