"""A pull that is killed before a system call, or whose call fails: what is visible is intact, the next pull works.

The programs of both languages are unmodified; strace interrupts one of their calls.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.store.cache import Cache
from reliability import by_mode, record
from rust_command import rust_with_stores
from store_files import NAME, laid_out, sealed_version
from store_servers import WebServer, web_server
from traced import CHANGING, ERRORS, Ended, Point, changing_points, interrupted_at, needs_strace

pytestmark = [pytest.mark.families("sentence_embedding"), needs_strace]
FILE = "tests/reliability/test_store_pull_crash.py"
CALLS = (*CHANGING, "flock")
KINDS = by_mode(("KILL", "ENOSPC"), ("KILL", *ERRORS), ("KILL", *ERRORS))
# How many calls are interrupted for each language and kind; None is all of them.
SAMPLE = by_mode(2, 3, None)
_PYTHON = """
import sys
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store.addresses import open_backend
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.spec import Spec
try:
    pull(open_backend(sys.argv[1]), Spec.parse(sys.argv[2]), Cache())
except OnnxMlBridgeError as error:
    sys.exit(f"error[{error.code}]: {error}")
"""


@dataclass(frozen=True)
class Program:
    """A program that pulls an artifact to a cache."""

    command: list[str]
    cache: Cache
    log: Path

    def points(self) -> list[Point]:
        """Return the calls that change the cache."""
        return changing_points(self.command, self.cache.folder, self.log, CALLS, by_path=True)

    def interrupted(self, point: Point, kind: str) -> Ended:
        """Pull to an empty cache, and let a call of the cache be the last one, or fail."""
        folder = self.cache.folder
        return interrupted_at(
            self.command, folder, point, kind, self.log, lambda: shutil.rmtree(folder, ignore_errors=True)
        )

    def repeat(self) -> None:
        """Pull again, and check what is visible then."""
        done = subprocess.run(self.command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (path,) = (self.cache.folder / "artifacts").iterdir()
        check_all(read_artifact(path))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("crash")
    sealed_version(folder / "artifact")
    laid_out(folder / "store", folder / "artifact", "latest")
    with web_server(folder / "store") as running:
        yield running


@pytest.fixture(params=["Python", "Rust"])
def program(
    request: pytest.FixtureRequest, server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Program:
    cache = Cache(tmp_path / "cache")
    monkeypatch.setenv("ONNX_ML_BRIDGE_CACHE", str(cache.folder))
    if request.param == "Python":
        command = [sys.executable, "-B", "-c", _PYTHON, server.address, NAME]
    else:
        command = [str(rust_with_stores()), "pull", NAME, "--store", server.address]
    return Program(command, cache, tmp_path / "trace")


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_pull_leaves_nothing_torn(program: Program, kind: str, request):
    every = program.points()
    assert len(every) > 80
    chosen = every if SAMPLE is None else random.Random(request.node.name).sample(every, SAMPLE)
    for point in chosen:
        ended = program.interrupted(point, kind)
        visible = list((program.cache.folder / "artifacts").glob("*"))
        for path in visible:
            check_all(read_artifact(path))
        if kind == "KILL":
            assert ended.status == -9, ended
        elif ended.status == 0:
            assert len(visible) == 1, f"a success was reported: {point}"
        else:
            assert ended.error.startswith(("error[io]", "error[store]")), (point, ended)
        program.repeat()
    language = request.node.callspec.params["program"]
    record(f"{FILE}::{language}, {kind}", f"{len(chosen)} of {len(every)} calls, all intact")


def test_all_is_on_disk_before_it_is_visible(program: Program):
    """A power loss at any time leaves a complete artifact or none: files and folders are synced before the rename."""
    program.points()
    calls = [line.split(maxsplit=1)[1] for line in program.log.read_text().splitlines()]
    (path,) = (program.cache.folder / "artifacts").iterdir()
    staging = str(program.cache.staging(path.name))
    named = next(index for index, call in enumerate(calls) if call.startswith("rename(") and f', "{path}"' in call)

    def indices(call: str, file: str) -> list[int]:
        return [index for index, each in enumerate(calls) if each.startswith(f"{call}(") and f"<{file}>" in each]

    for file in [path, *path.rglob("*")]:
        written_as = staging + str(file).removeprefix(str(path))
        written = [*indices("write", written_as), *indices("ftruncate", written_as)]
        assert file.is_dir() or written, file
        synced = indices("fsync", written_as)
        assert synced and max(written, default=0) < max(synced) < named, file
    assert max(indices("fsync", str(path.parent))) > named
