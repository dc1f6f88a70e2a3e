"""Pulling from an S3 server and from a web server: ranges, breaks, faults, other processes, offline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from onnx_ml_bridge.artifacts.checks import check_all, read_artifact
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError
from onnx_ml_bridge.artifacts.store import objects, web
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.remote import BucketBackend
from onnx_ml_bridge.artifacts.store.spec import Spec
from onnx_ml_bridge.artifacts.store.web import WebBackend
from onnx_ml_bridge.artifacts.trust.keys import PublicKey
from reliability import by_mode
from store_files import NAME, TINY, laid_out, published, sealed_version
from store_servers import WebServer, web_server

pytestmark = pytest.mark.families("sentence_embedding")
LATEST = Spec.parse(NAME)
SIZE = 20_000_000
DATA = "data/random.bin"
_PULL = """
import sys
from onnx_ml_bridge.artifacts.store.addresses import open_backend
from onnx_ml_bridge.artifacts.store.cache import Cache
from onnx_ml_bridge.artifacts.store.pull import pull
from onnx_ml_bridge.artifacts.store.spec import Spec
print(pull(open_backend(sys.argv[1]), Spec.parse(sys.argv[2]), Cache(sys.argv[3])).root)
"""


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_RETRIES", {"max_retries": 0})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with a file of several parts and an empty one."""
    folder = tmp_path_factory.mktemp("large") / "artifact"
    sealed_version(folder, extra={DATA: os.urandom(SIZE), "empty.txt": b""})
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, large: Path) -> Path:
    folder = tmp_path_factory.mktemp("store")
    laid_out(folder, large, "latest")
    return folder


@pytest.fixture
def server(root: Path) -> Iterator[WebServer]:
    with web_server(root) as running:
        yield running


def visible(cache: Cache) -> list[Path]:
    """The artifacts in a cache; each of them must be intact."""
    found = list((cache.folder / "artifacts").glob("*"))
    for path in found:
        check_all(read_artifact(path))
    return found


def requests_of_data(server: WebServer) -> int:
    return sum(count for key, count in server.requests.items() if key.endswith(DATA))


def code_of_pull(server: WebServer, cache: Cache) -> str:
    with pytest.raises(OnnxMlBridgeError) as refused:
        pull(WebBackend.open(server.address), LATEST, cache)
    return refused.value.code


def test_an_artifact_is_pulled_from_a_bucket(s3_address: str, large: Path, cache: Cache):
    bucket = BucketBackend.open(s3_address)
    identity = published(bucket, large, "latest")

    artifact = pull(bucket, LATEST, cache)

    assert artifact.identity == identity
    assert visible(cache) == [artifact.root]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_an_artifact_is_pulled_from_a_web_server(server: WebServer, cache: Cache, has_ranges: bool):
    server.has_ranges = has_ranges
    reports: list[tuple[int, int]] = []

    artifact = pull(WebBackend.open(server.address), LATEST, cache, report=lambda *done: reports.append(done))

    assert visible(cache) == [artifact.root]
    assert requests_of_data(server) == (3 if has_ranges else 1)
    total = sum(entry.size for entry in artifact.manifest.files.values())
    assert (reports[0], reports[-1]) == ((0, total), (total, total))


def test_a_cached_artifact_needs_no_download_and_a_pinned_one_no_request(server: WebServer, cache: Cache):
    reader = WebBackend.open(server.address)
    identity = pull(reader, LATEST, cache).identity
    server.requests.clear()

    pull(reader, LATEST, cache)
    assert list(server.requests) == [f"models/{NAME}/refs/latest.json"]

    server.requests.clear()
    pull(reader, Spec.parse(f"{NAME}@1.0.0#sha256:{identity}"), cache)
    assert not server.requests


def test_offline_the_last_answer_is_used_and_nothing_is_requested(server: WebServer, cache: Cache):
    reader = WebBackend.open(server.address)
    pull(reader, LATEST, cache)
    server.requests.clear()

    assert pull(reader, LATEST, cache, offline=True).manifest.version == "1.0.0"
    for name in (f"{NAME}@1.0.0", f"{NAME}@stable", f"{NAME}@1.0.0#sha256:{'0' * 64}"):
        with pytest.raises(OnnxMlBridgeError) as refused:
            pull(reader, Spec.parse(name), cache, offline=True)
        assert refused.value.code == "offline"
    assert not server.requests


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_server_that_refuses_is_a_typed_error(server: WebServer, cache: Cache, status: int):
    server.status = status
    assert code_of_pull(server, cache) == "store"
    assert not visible(cache)


def test_a_server_that_is_down_is_a_typed_error(cache: Cache):
    with pytest.raises(OnnxMlBridgeError, match="ONNX_ML_BRIDGE_OFFLINE") as refused:
        pull(WebBackend.open("http://127.0.0.1:9"), LATEST, cache)
    assert refused.value.code == "store"


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_cut_connection_is_continued(server: WebServer, cache: Cache, has_ranges: bool):
    server.has_ranges = has_ranges
    cuts = iter([1_000_000] * (6 if has_ranges else 2))

    def fault(path: str, body: bytes) -> bytes:
        return body[: next(cuts, len(body))] if len(body) > 5_000_000 else body

    server.fault = fault
    artifact = pull(WebBackend.open(server.address), LATEST, cache)

    assert visible(cache) == [artifact.root]
    # What was received before a cut is not requested again, except the bytes that the library had not handed over yet.
    # Requesting all of it again would send 6 MB more.
    if has_ranges:
        assert server.sent < artifact.manifest.files[DATA].size + 3_000_000


def test_a_pull_that_fails_is_continued_by_the_next_one(server: WebServer, cache: Cache, large: Path):
    first = (large / DATA).read_bytes()[:64]
    server.fault = lambda path, body: body if len(body) < 4_000_000 or body.startswith(first) else b""
    assert code_of_pull(server, cache) == "store"
    assert not visible(cache)

    server.fault, server.sent = lambda path, body: body, 0
    pull(WebBackend.open(server.address), LATEST, cache)

    assert len(visible(cache)) == 1
    assert server.sent < SIZE - (8 << 20) + 1_000_000


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("manifest.json", "manifest_hash"),
        (DATA, "file_hash"),
        ("tokenizer.json", "file_hash"),
        ("latest.json", "store"),
    ],
)
@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_flipped_bit_is_refused(server: WebServer, cache: Cache, file: str, code: str, has_ranges: bool):
    server.has_ranges = has_ranges

    def flipped(path: str, content: bytes) -> bytes:
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 0x80
        return bytes(changed) if path.endswith(f"/{file}") else content

    server.change = flipped
    assert code_of_pull(server, cache) == code
    assert not visible(cache)

    server.change = None
    pull(WebBackend.open(server.address), LATEST, cache)
    assert len(visible(cache)) == 1


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_truncated_file_is_refused(server: WebServer, cache: Cache, has_ranges: bool):
    server.has_ranges = has_ranges
    server.change = lambda path, content: content[:-1] if path.endswith(DATA) else content
    assert code_of_pull(server, cache) == "store"
    assert not visible(cache)


def test_a_missing_file_is_refused(server: WebServer, cache: Cache, root: Path, tmp_path: Path, large: Path):
    identity = laid_out(tmp_path / "partial", large, "latest")
    (tmp_path / "partial" / "artifacts" / identity / "tokenizer.json").unlink()
    server.root = tmp_path / "partial"
    assert code_of_pull(server, cache) == "store"
    assert not visible(cache)


def test_the_name_and_the_version_of_the_record_are_those_of_the_artifact(tmp_path: Path, large: Path, cache: Cache):
    laid_out(tmp_path / "store", large)
    (tmp_path / "store" / "models" / NAME / "versions" / "1.0.0.json").rename(tmp_path / "moved.json")
    (tmp_path / "store" / "models" / NAME / "versions" / "2.0.0.json").write_bytes(
        (tmp_path / "moved.json").read_bytes()
    )
    with web_server(tmp_path / "store") as server:
        with pytest.raises(OnnxMlBridgeError, match="another name or version"):
            pull(WebBackend.open(server.address), Spec.parse(f"{NAME}@2.0.0"), cache)
        assert not visible(cache)


def test_concurrent_pulls_of_threads_download_once(server: WebServer, cache: Cache):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: pull(WebBackend.open(server.address), LATEST, cache).root, range(8)))
    assert set(found) == set(visible(cache))
    assert requests_of_data(server) == 3


def test_concurrent_pulls_of_processes_download_once(server: WebServer, cache: Cache):
    running = [started_pull(server, cache) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert answers == {f"{path}\n" for path in visible(cache)}
    assert requests_of_data(server) == 3


def started_pull(server: WebServer, cache: Cache) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _PULL, server.address, NAME, str(cache.folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kills", [by_mode(3, 3, 38)])
def test_a_killed_pull_is_continued(server: WebServer, cache: Cache, tmp_path: Path, kills: int):
    """Every kill costs at most the parts in flight, and leaves nothing that is not verified."""
    size, last = 16_000_000 * (kills + 2), b"the last bytes"
    sealed_version(tmp_path / "huge", extra={DATA: os.urandom(1 << 20) * (size >> 20) + last})
    laid_out(tmp_path / "store", tmp_path / "huge", "latest")
    server.root = tmp_path / "store"
    is_asked, may_end = threading.Event(), threading.Event()

    def without_end(path: str, body: bytes) -> bytes:
        """Keep the last part back, so that no pull ends before its kill, however late that comes."""
        if body.endswith(last):
            is_asked.set()
            may_end.wait(600)
        return body

    server.fault = without_end
    lost = []
    for _ in range(kills):
        is_asked.clear()
        sent, kept = server.sent, partial_bytes(cache)
        process = started_pull(server, cache)
        while server.sent - sent < 12_000_000 and not is_asked.is_set() and process.poll() is None:
            time.sleep(0.002)
        assert process.poll() is None
        process.kill()
        process.wait()
        lost.append(server.sent - sent - (partial_bytes(cache) - kept))
        assert not visible(cache)

    may_end.set()
    assert started_pull(server, cache).wait(timeout=120) == 0
    assert len(visible(cache)) == 1
    print(f"{kills} kills lost {max(lost) / (1 << 20):.1f} MiB at most, {sum(lost) / kills / (1 << 20):.1f} on average")
    # Four parts, the small files, and what the server had still to send to the pull before
    assert max(lost) <= 33 << 20


def partial_bytes(cache: Cache) -> int:
    return sum(path.stat().st_size for path in cache.folder.glob(f".staging/*/{DATA}"))


def test_a_damaged_artifact_in_the_cache_is_pulled_again(server: WebServer, cache: Cache):
    reader = WebBackend.open(server.address)
    path = pull(reader, LATEST, cache).root
    (path / "tokenizer.json").write_bytes((path / "tokenizer.json").read_bytes().replace(b"1", b"2"))

    assert pull(reader, LATEST, cache).root == path
    assert len(visible(cache)) == 1


def test_credentials_are_sent_and_never_shown(server: WebServer, cache: Cache):
    reader = WebBackend.open(server.address.replace("//", "//someone:s3cret@"))
    pull(reader, LATEST, cache)
    assert all(headers["authorization"] == "Basic c29tZW9uZTpzM2NyZXQ=" for headers in server.headers)
    assert reader.address == server.address

    server.status = 500
    with pytest.raises(OnnxMlBridgeError) as refused:
        pull(reader, LATEST, cache)
    assert "s3cret" not in f"{refused.value}{refused.value.__cause__}"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(OnnxMlBridgeError, match=r"pip install 'onnx-ml-bridge\[store\]'") as refused:
        objects.import_obstore()
    assert refused.value.code == "dependency"


def test_signatures_are_checked_and_kept_in_the_cache(cache: Cache, tmp_path: Path):
    with web_server(tmp_path) as server:
        check_signatures(tmp_path, server, cache)


def check_signatures(root: Path, server: WebServer, cache: Cache) -> None:
    trust = TINY.parents[1] / "trust"
    trusted, other = PublicKey.read(trust / "trusted.pub"), PublicKey.read(trust / "other.pub")
    identity = laid_out(root, TINY)
    bundle = root / "signatures" / identity / f"{trusted.hash}.json"
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes((trust / "bundles" / "signed.json").read_bytes())
    spec, reader = Spec.parse(f"{NAME}@{read_artifact(TINY).manifest.version}"), WebBackend.open(server.address)
    with pytest.raises(OnnxMlBridgeError) as refused:
        pull(reader, spec, cache, keys=[other])
    assert refused.value.code == "signature" and not (cache.folder / "artifacts").exists()
    for _ in range(2):
        assert pull(reader, spec, cache, keys=[other, trusted]).identity == identity
    assert [path.name for path in (cache.folder / "signatures" / identity).iterdir()] == [bundle.name]
    assert server.requests[f"signatures/{identity}/{bundle.name}"] == 1
    assert pull(reader, spec, cache, keys=[trusted], offline=True).identity == identity


def test_a_forked_process_refuses_to_make_requests(server: WebServer, cache: Cache, tmp_path: Path):
    """It would wait for threads that only its parent has. What is in the cache and pinned can be used."""
    script = (
        _PULL
        + """
import os
from onnx_ml_bridge.artifacts.errors import StoreError
reader, cache = open_backend(sys.argv[1]), Cache(sys.argv[3])
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
pinned = Spec.parse(f"{sys.argv[2]}@1.0.0#sha256:{os.listdir(os.path.join(sys.argv[3], 'artifacts'))[0]}")
pull(reader, pinned, cache)
try:
    pull(reader, Spec.parse(sys.argv[2]), cache)
except StoreError as error:
    os._exit(3 if "forked" in str(error) else 4)
"""
    )
    command = [sys.executable, "-c", script, server.address, NAME, str(cache.folder)]
    assert subprocess.run(command, timeout=60, stdout=subprocess.DEVNULL).returncode == 3
