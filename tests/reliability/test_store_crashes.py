"""A store stays intact when a writer is killed, or when a call of it fails, anywhere.

The programs are unmodified: strace kills them right before one of their changing system calls, or lets it fail.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx_ml_bridge import Store
from reliability import by_mode, record
from store_files import NAME, sealed_version
from store_state import problems, tag_of, versions_of
from traced import ERRORS, Point, changing_points, failed_at, killed_at, needs_strace

pytestmark = [pytest.mark.families("sentence_embedding"), needs_strace]
# How many calls are interrupted for each operation and kind; None is all of them.
SAMPLE = by_mode(1, 2, None)
KINDS = by_mode(("KILL", "ENOSPC"), ("KILL", *ERRORS), ("KILL", *ERRORS))
FILE = "tests/reliability/test_store_crashes.py"
STORE = "import sys; from onnx_ml_bridge.artifacts.store.store import Store; store = Store(sys.argv[1]); "


@dataclass(frozen=True)
class Operation:
    """A change of the store: the statement that makes it, and whether a store has its result."""

    statement: str
    is_done: Callable[[Path], bool]

    def command(self, root: Path) -> list[str]:
        return [sys.executable, "-c", STORE + self.statement, str(root), str(root.parent / "1.2.0")]


OPERATIONS = {
    "publish": Operation("store.publish(sys.argv[2])", lambda root: "1.2.0" in versions_of(root, NAME)),
    "promote": Operation(
        f"store.promote({NAME!r}, '1.0.0', 'stable')", lambda root: tag_of(root, NAME, "stable") == "1.0.0"
    ),
    "first promote": Operation(
        f"store.promote({NAME!r}, '1.1.0', 'new')", lambda root: tag_of(root, NAME, "new") == "1.1.0"
    ),
    "rollback": Operation(f"store.rollback({NAME!r}, 'latest')", lambda root: tag_of(root, NAME, "latest") == "1.0.0"),
    "yank": Operation(f"store.yank({NAME!r}, '1.0.1')", lambda root: "1.0.1" not in versions_of(root, NAME)),
    "gc": Operation("store.gc(grace=0.001)", lambda root: len(list((root / "artifacts").iterdir())) == 2),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A folder with a store of three versions, of which one is yanked, and an artifact that is not published yet."""
    folder = tmp_path_factory.mktemp("stores")
    store = Store(folder / "base")
    for version in ("1.0.0", "1.0.1", "1.1.0", "1.2.0"):
        sealed_version(folder / version, version)
    for version in ("1.0.0", "1.1.0"):
        store.publish(folder / version, tags=["latest"])
    store.promote(NAME, "1.1.0", "stable")
    store.publish(folder / "1.0.1")
    return folder


@pytest.fixture
def fresh(base) -> Callable[[str], Path]:
    """The function `fresh(name)`, which returns a new copy of the store for an operation."""
    root = base / "store"

    def copy(name: str) -> Path:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base / "base", root)
        if name == "gc":
            Store(root).yank(NAME, "1.0.1")
            time.sleep(0.002)
        return root

    return copy


def sampled(points: list[Point], seed: str) -> list[Point]:
    if SAMPLE is None or len(points) <= SAMPLE:
        return points
    return random.Random(seed).sample(points, SAMPLE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupted_change_is_made_or_not_made(name, kind, fresh, tmp_path):
    operation, log = OPERATIONS[name], tmp_path / "trace"
    root = fresh(name)
    points = changing_points(operation.command(root), root, log)
    assert points and problems(root) == [] and operation.is_done(root)
    runs = sampled(points, name + kind)
    for point in runs:
        root = fresh(name)
        command = operation.command(root)
        if kind == "KILL":
            assert killed_at(command, point, log).status == -9
        else:
            ended = failed_at(command, point, kind, log)
            assert ended.status == 0 or "StoreError" in ended.error or "ArtifactError" in ended.error, ended.error
            assert ended.status != 0 or operation.is_done(root), f"a success was reported: {point}"
        assert problems(root) == [], point
        assert tag_of(root, NAME, "stable") in ("1.1.0", "1.0.0") and {"1.0.0", "1.1.0"} <= versions_of(root, NAME)
        _repeat(operation, root)
    record(f"{FILE}::{name}, {kind}", f"{len(runs)} of {len(points)} calls, all intact")


def _repeat(operation: Operation, root: Path) -> None:
    """Make the change again if it was not made, and clean up what the interrupted writer left."""
    store = Store(root)
    if not operation.is_done(root):
        exec(operation.statement, {"store": store, "sys": _Arguments(root)})
    assert operation.is_done(root) and problems(root) == []
    time.sleep(0.002)
    store.gc(grace=0.001)
    assert problems(root) == [] and list((root / ".staging").glob("*")) == []
    assert list((root / "models").rglob("*.tmp")) == []


class _Arguments:
    def __init__(self, root: Path) -> None:
        self.argv = ["", str(root), str(root.parent / "1.2.0")]
