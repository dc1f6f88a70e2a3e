"""A pull that is killed before a system call, or whose call fails: what is visible is intact, the next pull works.

ONNX_ML_BRIDGE_CRASHES=all tries every call, otherwise a sample of them. Requires strace.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.spec import Spec
from onnx_ml_bridge.artifacts.store.web import WebBackend
from reliability import MODE
from store_files import NAME, laid_out, sealed_version
from store_servers import WebServer, web_server

pytestmark = [
    pytest.mark.families("sentence_embedding"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
CALLS = ("mkdir", "ftruncate", "fsync", "utimensat", "rename", "flock", "write")
ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE")
SAMPLE = 8
_PULL = """
import sys
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store.addresses import open_backend
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.spec import Spec
try:
    pull(open_backend(sys.argv[1]), Spec.parse(sys.argv[2]), Cache(sys.argv[3]))
except OnnxMlBridgeError as error:
    sys.exit(f"typed {error.code}")
"""


@dataclass(frozen=True)
class Crash:
    """What happens at the n-th call of a thread: its signal, or the error that it returns."""

    call: str
    when: int
    action: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("crash")
    sealed_version(folder / "artifact")
    laid_out(folder / "store", folder / "artifact", "latest")
    with web_server(folder / "store") as running:
        yield running


def traced(server: WebServer, cache: Cache, log: Path, *inject: str) -> subprocess.CompletedProcess[str]:
    """Pull under strace, which logs the calls."""
    strace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *inject]
    command = [*strace, sys.executable, "-B", "-c", _PULL, server.address, NAME, str(cache.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def crashes(log: str) -> list[Crash]:
    """Every call that the log has, by its number in its thread, with a signal and with every error."""
    counts: dict[str, Counter[str]] = {call: Counter() for call in CALLS}
    main = log.partition(" ")[0]
    for line in log.splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        # The threads of the network library also write, to wake each other, as often as it happens
        if call in counts and (call != "write" or thread == main):
            counts[call][thread] += 1
    found = []
    for call, threads in counts.items():
        for when in range(1, max(threads.values()) + 1):
            found.append(Crash(call, when, "signal=KILL"))
            if call != "write":  # an error would also be that of a thread of the network library
                found.extend(Crash(call, when, f"error={error}") for error in ERRORS)
    return found


def test_a_crash_leaves_nothing_torn(server: WebServer, tmp_path: Path):
    log = tmp_path / "trace"
    assert traced(server, Cache(tmp_path / "whole"), log).returncode == 0
    every = crashes(log.read_text())
    assert len(every) > 100
    is_sample = MODE != "long"
    chosen = random.Random(14).sample(every, SAMPLE) if is_sample else every
    for number, crash in enumerate(chosen):
        cache = Cache(tmp_path / f"cache-{number}")
        result = traced(server, cache, log, "-e", f"inject={crash.call}:{crash.action}:when={crash.when}")
        if crash.action.startswith("error"):
            assert "(INJECTED)" in log.read_text(), crash
            assert result.returncode == 0 or result.stderr.strip() in ("typed io", "typed store"), (
                crash,
                result.stderr,
            )
        else:
            assert result.returncode != 0, crash
        for path in (cache.folder / "artifacts").glob("*"):
            check_all(read_artifact(path))
        check_all(pull(WebBackend.open(server.address), Spec.parse(NAME), cache))
    print(f"{len(chosen)} of {len(every)} crashes")


def test_all_is_on_disk_before_it_is_visible(server: WebServer, tmp_path: Path):
    """A power loss at any time leaves a complete artifact or none: files and folders are synced before the rename."""
    log, cache = tmp_path / "trace", Cache(tmp_path / "cache")
    assert traced(server, cache, log).returncode == 0
    (path,) = (cache.folder / "artifacts").iterdir()
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    staging = str(cache.staging(path.name))
    named = next(index for index, call in enumerate(calls) if call.startswith("rename(") and f'"{path}") = 0' in call)

    def indices(call: str, file: str) -> list[int]:
        return [index for index, each in enumerate(calls) if each.startswith(f"{call}(") and f"<{file}>" in each]

    for file in [path, *path.rglob("*")]:
        written_as = staging + str(file).removeprefix(str(path))
        written = [*indices("write", written_as), *indices("ftruncate", written_as)]
        assert file.is_dir() or written, file
        synced = indices("fsync", written_as)
        assert synced and max(written, default=0) < max(synced) < named, file
    assert max(indices("fsync", str(path.parent))) > named
