"""Publishers, readers and a garbage collector use one store at the same time.

The store is a folder, with and without working locks, or a bucket of the S3 server that `make test-s3` installs.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest
from onnx_ml_bridge import Store
from reliability import by_mode, record
from store_files import NAME
from store_races import Race, copied, run
from store_state import problems

pytestmark = pytest.mark.families("sentence_embedding")
# Publishers, readers, and seconds.
PUBLISHERS, READERS, SECONDS = by_mode((3, 4, 3.0), (16, 32, 30.0), (16, 32, 1800.0))
# The server of the bucket answers one request at a time.
BUCKET_SECONDS = by_mode(4.0, 60.0, 1800.0)
# A reader has to end within this time after a version was yanked, in seconds.
GRACE = by_mode(2.0, 10.0, 60.0)
BUCKET_GRACE = by_mode(3.0, 30.0, 60.0)
COUNTED = ("published", "moved", "reads", "deleted")


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "no locks"])
def test_the_history_of_a_folder_is_what_was_acknowledged(has_locks, tmp_path):
    root = tmp_path / "store"
    race = Race(str(root), tmp_path, time.time() + SECONDS, GRACE, has_locks)
    total, revision = counted(race)
    assert problems(root) == []
    assert revision == total["moved"] if has_locks else revision <= total["moved"]
    recorded("locks" if has_locks else "no locks", total)


def test_the_history_of_a_bucket_is_what_was_acknowledged(s3_environment, s3_address, tmp_path):
    race = Race(s3_address, tmp_path, time.time() + BUCKET_SECONDS, BUCKET_GRACE, environment=s3_environment)
    total, revision = counted(race)
    assert problems(copied(s3_address, tmp_path / "copy")) == []
    assert revision == total["moved"]
    recorded("bucket", total)


def counted(race: Race) -> tuple[Counter[str], int]:
    """Run a race, compare the versions with those that were acknowledged; return the counts and the tag's revision."""
    reports = run(race, PUBLISHERS, READERS)
    assert [each["failed"] for each in reports if "failed" in each] == []
    total = Counter({key: sum(each.get(key, 0) for each in reports) for key in COUNTED})
    kept = {version for each in reports for version in each.get("kept", ())}
    store = Store(race.address)
    assert {each.version for each in store.versions(NAME)} == kept
    assert total["published"] > 0 and total["reads"] > 0
    (tag,) = store.tags(NAME)
    return total, tag.revision


def recorded(how: str, total: Counter[str]) -> None:
    figures = ", ".join(f"{count:,} {what}" for what, count in total.items())
    record(f"tests/reliability/test_store_races.py::{how}", figures)
