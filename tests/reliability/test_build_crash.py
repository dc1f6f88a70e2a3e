"""A build that is killed before a system call, or whose call fails, leaves the old artifact, the new one, or none."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_builds import ForkedBuilds, forked_builds
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.families import FAMILIES
from reliability import by_mode, record
from toy_family.artifacts.families.readability import READABILITY
from traced import CHANGING, ERRORS, Ended, changing_points, interrupted_at, needs_strace

pytestmark = needs_strace
FILE = "tests/reliability/test_build_crash.py"
OLD, NEW = "1.0.0", "1.1.0"
CALLS = (*CHANGING, "flock")
KINDS = by_mode(("KILL", "ENOSPC"), ("KILL", *ERRORS), ("KILL", *ERRORS))
# How many calls are interrupted for each kind; None is all of them.
SAMPLE = by_mode(2, 4, None)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedBuilds]:
    """Builds of a small model, of which `old` beside their output folder is a copy after the build of version 1.0.0."""
    folder = tmp_path_factory.mktemp("builds")
    with forked_builds(folder) as running:
        assert built(running, OLD).status == 0
        shutil.copytree(running.out, folder / "old")
        yield running


def built(builds: ForkedBuilds, version: str) -> Ended:
    """Build a version without an interruption."""
    builds.version = version
    os.kill(builds.start(), signal.SIGCONT)
    return builds.end()


def prepare(builds: ForkedBuilds, *, exists: bool) -> None:
    """Let the output folder have the old artifact, or nothing."""
    shutil.rmtree(builds.out)
    if exists:
        shutil.copytree(builds.out.parent / "old", builds.out)


def version_at(path: Path) -> str | None:
    """Return the version of an artifact all of whose files are intact, or None if nothing is there."""
    if not path.exists():
        return None
    artifact = read_artifact(path, (*FAMILIES, READABILITY))
    check_all(artifact)
    return artifact.manifest.version


@pytest.mark.parametrize("exists", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_build_leaves_nothing_torn(builds: ForkedBuilds, kind: str, exists: bool, request, tmp_path):
    target, log = builds.out / "toy", tmp_path / "trace"
    prepare(builds, exists=exists)
    builds.version = NEW
    every = changing_points(builds, builds.out, log, CALLS, by_path=True)
    assert len(every) > 40 and version_at(target) == NEW
    chosen = every if SAMPLE is None else random.Random(request.node.name).sample(every, SAMPLE)
    for point in chosen:
        builds.version = NEW
        ended = interrupted_at(builds, builds.out, point, kind, log, lambda: prepare(builds, exists=exists))
        version, replaced = version_at(target), version_at(builds.out / ".toy.replaced")
        if version is None and exists:  # between the two renames of `seal`; the next build restores it
            assert kind == "KILL" and replaced == OLD, point
        assert replaced in (OLD, None), point
        assert version in (NEW, OLD if exists else None, None), point
        if kind == "KILL":
            assert ended.status == -9, ended
        elif ended.status == 0:
            assert version == NEW, f"a success was reported: {point}"
        else:
            assert ended.error.startswith("error[io]"), (point, ended)
        for report in builds.out.glob(".reports/toy/build.json"):
            assert json.loads(report.read_bytes())["identity"]
        assert built(builds, NEW).status == 0 and version_at(target) == NEW
        left = {each.name for each in builds.out.iterdir()} - {"toy", ".toy.lock", ".reports"}
        if left:  # the old artifact could not be removed; the next build that is not up to date does it
            assert ended.status == 0 and left == {".toy.replaced"} and replaced == OLD
    how = "replaced" if exists else "new"
    record(f"{FILE}::{how}, {kind}", f"{len(chosen)} of {len(every)} calls, all intact")
