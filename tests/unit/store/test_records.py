"""The records of a store are written as canonical JSON and read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts.errors import StoreError
from onnx_ml_bridge.artifacts.store.records import MAX_PREVIOUS, TagRecord, VersionRecord

IDENTITY, OTHER = "ab" * 32, "cd" * 32
TAG = TagRecord("1.2.0", IDENTITY, 3, ("1.1.0", "1.0.0"), {OTHER: "MEUC"})


def test_records_survive_a_round_trip():
    for record in (VersionRecord(IDENTITY), VersionRecord(IDENTITY, is_yanked=True)):
        assert VersionRecord.from_bytes(record.to_bytes(), "k") == record
    for record in (TAG, TagRecord("1.0.0", IDENTITY)):
        assert TagRecord.from_bytes(record.to_bytes(), "k") == record
        assert record.to_bytes() == TagRecord.from_bytes(record.to_bytes(), "k").to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"identity": None},
        {"identity": IDENTITY.upper()},
        {"identity": 5},
        {"version": "1.0"},
        {"revision": 0},
        {"revision": True},
        {"revision": 1.5},
        {"previous": ["1.0"]},
        {"previous": ["1.0.0"] * (MAX_PREVIOUS + 1)},
        {"previous": "1.0.0"},
        {"signatures": {}},
        {"signatures": {"key": "x"}},
        {"signatures": {OTHER: 5}},
        {"more": 1},
    ],
)
def test_invalid_tags_are_refused(change):
    record = json.loads(TAG.to_bytes()) | change
    if change.get("identity", 0) is None:
        del record["identity"]
    with pytest.raises(StoreError, match="models/x") as caught:
        TagRecord.from_bytes(json.dumps(record).encode(), "models/x")
    assert caught.value.code == "store"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"identity": "x"}',
        b'{"identity": "%s", "yanked": false}' % IDENTITY.encode(),
        b'{"identity": "%s", "identity": "%s"}' % (IDENTITY.encode(), IDENTITY.encode()),
        b" " * 70_000,
    ],
)
def test_invalid_versions_are_refused(raw):
    with pytest.raises(StoreError):
        VersionRecord.from_bytes(raw, "k")


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_any_bytes_are_a_record_or_refused(raw):
    for kind in (TagRecord, VersionRecord):
        try:
            kind.from_bytes(raw, "k")
        except StoreError:
            continue


@given(st.lists(st.sampled_from([f"1.{minor}.0" for minor in range(40)]), max_size=60))
def test_previous_versions_are_the_newest_first_and_bounded(moves):
    record = TagRecord("9.0.0", IDENTITY)
    for number, version in enumerate(moves, start=2):
        before, record = record, record.moved(version, OTHER)
        assert record.revision == number
        assert record.previous[0] == before.version and len(record.previous) <= MAX_PREVIOUS
        assert TagRecord.from_bytes(record.to_bytes(), "k") == record
        assert record.rolled_back(IDENTITY).version == before.version
        assert record.rolled_back(IDENTITY).previous == record.previous[1:]
