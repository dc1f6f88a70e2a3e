"""Publishers, readers and a garbage collector use one store at the same time, with and without working locks."""

from __future__ import annotations

import multiprocessing
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_ml_bridge import Store
from onnx_ml_bridge.artifacts.checks import check_hashes, read_artifact
from onnx_ml_bridge.artifacts.errors import StoreError
from reliability import by_mode, record
from store_files import NAME, sealed_version
from store_state import problems

pytestmark = pytest.mark.families("sentence_embedding")
# Publishers, readers, and seconds.
PUBLISHERS, READERS, SECONDS = by_mode((3, 4, 3.0), (16, 32, 30.0), (16, 32, 900.0))
# A reader has to end within this time after a version was yanked, in seconds.
GRACE = by_mode(2.0, 10.0, 10.0)
Queue = Any


def without_locks(*_: object, **__: object) -> None:
    raise NotImplementedError("this file system has no locks")


def worker(action: Callable[..., dict[str, Any]], has_locks: bool, arguments: tuple[Any, ...], results: Queue) -> None:
    if not has_locks:
        import filelock

        filelock.FileLock.acquire = without_locks
    try:
        results.put(action(*arguments))
    except BaseException:
        results.put({"failed": [traceback.format_exc()[-800:]]})


def publisher(root: Path, number: int, end: float) -> dict[str, Any]:
    """Publish versions, yank them again, and move tags; return what was acknowledged."""
    store, source, done = Store(root), random.Random(number), Counter[str]()
    kept: set[str] = set()
    for count in range(10**9):
        if time.time() > end:
            break
        version = f"1.{number}.{count}"
        folder = root.parent / f"artifact-{number}-{count}"
        sealed_version(folder, version)
        store.publish(folder)
        done["published"] += 1
        kept.add(version)
        try:
            store.promote(NAME, version, "shared")
            done["moved"] += 1
        except StoreError as error:
            assert error.code == "conflict", error
            done["conflicts"] += 1
        for earlier in source.sample(sorted(kept - {version}), min(1, len(kept) - 1)):
            try:
                store.yank(NAME, earlier)
                kept.discard(earlier)
                done["yanked"] += 1
            except StoreError as error:
                assert error.code == "conflict", error
    return {"kept": sorted(kept), **done}


def reader(root: Path, number: int, end: float) -> dict[str, Any]:
    """Resolve a tag, and check all files of its artifact."""
    store, reads = Store(root), 0
    while time.time() < end:
        try:
            resolved = store.resolve(f"{NAME}@shared")
        except StoreError as error:
            assert error.code == "not_found" and reads == 0, error
            continue
        artifact = read_artifact(root / "artifacts" / resolved.identity)
        check_hashes(artifact, artifact.manifest.files)
        assert artifact.identity == resolved.identity and artifact.manifest.version == resolved.version
        reads += 1
    return {"reads": reads}


def collector(root: Path, end: float) -> dict[str, Any]:
    store, deleted = Store(root), 0
    while time.time() < end:
        deleted += len(store.gc(grace=GRACE).artifacts)
        time.sleep(0.2)
    return {"deleted": deleted}


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "no locks"])
def test_the_history_is_what_was_acknowledged(has_locks, tmp_path):
    root, end = tmp_path / "store", time.time() + SECONDS
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    actions = [(publisher, (root, number, end)) for number in range(PUBLISHERS)]
    actions += [(reader, (root, number, end)) for number in range(READERS)] + [(collector, (root, end))]
    processes = [
        context.Process(target=worker, args=(action, has_locks, arguments, results)) for action, arguments in actions
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=SECONDS + 300) for _ in processes]
    for process in processes:
        process.join()
    total = Counter(
        {key: sum(each.get(key, 0) for each in found) for key in ("published", "moved", "reads", "deleted")}
    )
    assert [each["failed"] for each in found if "failed" in each] == []
    kept = {version for each in found for version in each.get("kept", ())}
    store = Store(root)
    assert {each.version for each in store.versions(NAME)} == kept
    assert problems(root) == [] and total["published"] > 0 and total["reads"] > 0
    (tag,) = store.tags(NAME)
    assert tag.revision == total["moved"] if has_locks else tag.revision <= total["moved"]
    how = "locks" if has_locks else "no locks"
    figures = ", ".join(f"{count:,} {what}" for what, count in total.items())
    record(f"tests/reliability/test_store_races.py::{how}", figures)
