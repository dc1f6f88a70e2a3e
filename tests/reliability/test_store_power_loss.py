"""A store stays intact when the power fails at any moment of a write, and what was acknowledged survives.

The states of the disk are computed from the system calls of an unmodified program; see power_loss.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from onnx_ml_bridge import Store
from power_loss import Disk, Event, recorded_changes
from reliability import MODE, by_mode, record
from store_files import NAME, sealed_version
from store_state import problems, tag_of, versions_of
from traced import needs_strace

pytestmark = [pytest.mark.families("sentence_embedding"), needs_strace]
STATES = by_mode(60, 400, 5000)
# Enough states to find a missing fsync with near certainty
STATES_WITHOUT = 600
PROGRAM = "import sys; from onnx_ml_bridge.artifacts.store.store import Store; store = Store(sys.argv[1]); "
# What is done one after the other in a new store, and what has to be there once it was acknowledged.
STEPS: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    ("store.publish(sys.argv[2] + '/1.0.0')", lambda root: "1.0.0" in versions_of(root, NAME)),
    (f"store.promote({NAME!r}, '1.0.0', 'stable')", lambda root: tag_of(root, NAME, "stable") == "1.0.0"),
    ("store.publish(sys.argv[2] + '/1.1.0')", lambda root: {"1.0.0", "1.1.0"} <= versions_of(root, NAME)),
    (f"store.promote({NAME!r}, '1.1.0', 'stable')", lambda root: tag_of(root, NAME, "stable") == "1.1.0"),
    (f"store.rollback({NAME!r}, 'stable')", lambda root: tag_of(root, NAME, "stable") == "1.0.0"),
    (f"store.yank({NAME!r}, '1.1.0')", lambda root: versions_of(root, NAME) == {"1.0.0"}),
    ("store.gc(grace=0.001)", lambda root: len(list((root / "artifacts").iterdir())) == 1),
)
# Every fsync of the writers, by what it writes to disk, as a pattern of paths.
SYNCED = {
    "files of an upload": r"/\.staging/[^/]+/.*\.[a-z0-9_]+$",
    "folders of an upload": r"/\.staging/[^/]+(/[^.]+)?$",
    "name of an artifact": r"/artifacts$",
    "content of a version": r"/versions/\.[^/]+\.tmp$",
    "name of a version": r"/versions$",
    "content of a tag": r"/refs/\.[^/]+\.tmp$",
    "name of a tag": r"/refs$",
    "folder of a model": rf"/models(/{NAME})?$",
    "folders of the store": r"/store$",
    "removed artifacts": r"/\.staging$",
}
Recorded = list[tuple[Path, list[Event], Callable[[Path], bool]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    """For each step, the store before it, the changes it makes, and what it promises."""
    folder = tmp_path_factory.mktemp("power")
    root, found = folder / "store", []
    root.mkdir()
    for version in ("1.0.0", "1.1.0"):
        sealed_version(folder / version, version)
    for number, (statement, is_done) in enumerate(STEPS):
        before = shutil.copytree(root, folder / f"before-{number}")
        command = [sys.executable, "-c", PROGRAM + statement, str(root), str(folder)]
        events = recorded_changes(command, root, folder / "trace")
        assert is_done(root) and problems(root) == []
        found.append((before, events, is_done))
    return found


def failures(recorded: Recorded, states: int, folder: Path, *, without: str | None = None) -> Iterator[str]:
    """Yield what is wrong after power losses at random moments of the steps.

    :param without: the pattern of paths whose fsync is left out.
    """
    source = random.Random(20261126)
    for number, (before, all_events, is_done) in enumerate(recorded):
        kept = [each for each in all_events if each.call != "fsync" or not re.search(without or "$^", each.path)]
        for state in range(states // len(recorded)):
            count = len(kept) if state % 3 == 0 else source.randrange(len(kept) + 1)
            crashed = _crashed(before, kept[:count], folder, source)
            if wrong := problems(crashed):
                yield f"step {number}, {count} of {len(kept)} changes: {wrong[0]}"
            elif count == len(kept) and not is_done(crashed):
                yield f"step {number}: the acknowledged change is lost"


def _crashed(before: Path, events: Sequence[Event], folder: Path, source: random.Random) -> Path:
    disk = Disk(before.parent / "store", before)
    disk.apply(events)
    crashed = folder / "crashed"
    shutil.rmtree(crashed, ignore_errors=True)
    disk.write_crash(crashed, source)
    return crashed


def test_nothing_is_torn_and_nothing_acknowledged_is_lost(recorded, tmp_path):
    assert list(failures(recorded, STATES, tmp_path)) == []
    record("tests/reliability/test_store_power_loss.py::states", f"{STATES:,} states, none bad")


@pytest.mark.parametrize("what", SYNCED if MODE != "short" else ["content of a tag", "name of a version"])
def test_every_fsync_is_needed(recorded, what, tmp_path):
    assert any(
        re.search(SYNCED[what], each.path) for _, events, _ in recorded for each in events if each.call == "fsync"
    )
    assert any(failures(recorded, STATES_WITHOUT, tmp_path, without=SYNCED[what]))


def test_the_list_of_fsyncs_is_complete(recorded):
    synced = {each.path for _, events, _ in recorded for each in events if each.call == "fsync"}
    assert [path for path in synced if not any(re.search(each, path) for each in SYNCED.values())] == []


def test_a_store_that_survived_can_be_used(recorded, tmp_path):
    source = random.Random(1)
    before, events, _ = recorded[2]
    for _ in range(6):
        crashed = _crashed(before, events[: source.randrange(len(events))], tmp_path, source)
        store = Store(crashed)
        store.publish(before.parent / "1.1.0", tags=["stable"])
        assert store.pull(f"{NAME}@stable").is_dir() and problems(crashed) == []
