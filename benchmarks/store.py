"""Measures stores on this machine: a pull beside a download without hashes and fsync, and lists of many versions.

python -m benchmarks.store [--megabytes 1000] [--rounds 5] [--versions 1000] [--bucket s3://BUCKET] [--rust COMMAND]

COMMAND is the crate's, a release build with the feature `store-remote`; its figures are those of the whole process.
The time of a bucket depends on its server: that of the tests answers one request at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
BASE = ROOT / "tests" / "golden" / "valid" / "tiny-embedding"
PART_BYTES, IN_FLIGHT = 8 << 20, 4


def main() -> None:
    """Run as a benchmark, or as one measured download of it."""
    if len(sys.argv) > 1 and sys.argv[1] in ("plain", "pull"):
        measured(sys.argv[1], *sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--bucket", help="an empty bucket, whose endpoint and credentials are in the environment")
    parser.add_argument("--rust", help="the path of the command onnx-ml-bridge of the crate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for address in filter(None, (folder + "/list", options.bucket)):
            list_versions(address, options.versions, options.rounds)
        compare_downloads(Path(folder), options.megabytes, options.rounds, options.rust)


def list_versions(address: str, count: int, rounds: int) -> None:
    """Write records of versions and print the time in which they are listed with their identities."""
    from onnx_ml_bridge.artifacts.store.addresses import open_backend
    from onnx_ml_bridge.artifacts.store.layout import version_key
    from onnx_ml_bridge.artifacts.store.listing import version_records
    from onnx_ml_bridge.artifacts.store.records import VersionRecord
    from onnx_ml_bridge.artifacts.store.remote import BucketBackend

    backend = open_backend(address)
    keys = [version_key("many", f"1.{number}.0") for number in range(count)]
    record = VersionRecord("a" * 64).to_bytes()
    if isinstance(backend, BucketBackend):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: backend.put(key, record), keys))
    else:
        (Path(address) / keys[0]).parent.mkdir(parents=True)
        for key in keys:
            (Path(address) / key).write_bytes(record)
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        assert len(version_records(backend, "many")) == count
        seconds.append(time.perf_counter() - started)
    print(f"{count} versions of {address}: {statistics.median(seconds):.3f} s")


def compare_downloads(folder: Path, megabytes: int, rounds: int, rust: str | None) -> None:
    """Print time, CPU time and memory of all ways to download one artifact, in turns."""
    from onnx_ml_bridge.artifacts.store.layout import artifact_key

    identity = write_store(folder / "store", megabytes * 1_000_000)
    results: dict[str, list[dict[str, float]]] = {"plain": [], "pull": [], **({"rust": []} if rust else {})}
    with web_server(folder / "store") as address:
        for _ in range(rounds):
            for how, answers in results.items():
                target = folder / "target"
                key = artifact_key(identity, "data.bin")
                if how == "rust":
                    answers.append(measured_command([str(rust), "pull", "tiny-embedding", "--store", address], target))
                else:
                    command = [sys.executable, "-m", "benchmarks.store", how, address, str(target), key]
                    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
                    answers.append(json.loads(done.stdout))
                shutil.rmtree(target)
    gigabytes = megabytes / 1000
    for how, answers in results.items():
        seconds, cpu, memory = (statistics.median(each[name] for each in answers) for name in ("wall", "cpu", "memory"))
        print(f"{how:5}  {seconds:6.2f} s  {cpu / gigabytes:5.2f} CPU s per GB  {memory / 1e6:6.0f} MB more memory")
    for how in list(results)[1:]:
        ratios = [each["wall"] / plain["wall"] for plain, each in zip(results["plain"], results[how], strict=True)]
        print(f"{how} / plain: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


def measured_command(command: list[str], cache: Path) -> dict[str, float]:
    """Run a command with an empty cache, and return what it took."""
    started = time.perf_counter()
    environment = os.environ | {"ONNX_ML_BRIDGE_CACHE": str(cache)}
    process = os.posix_spawn(
        command[0], command, environment, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)]
    )
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    assert status == 0, command
    return {"wall": seconds, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024}


def measured(how: str, address: str, target: str, key: str) -> None:
    """Download in this process and print what it took; imports are not counted."""
    from onnx_ml_bridge.artifacts import checks  # noqa: F401
    from onnx_ml_bridge.artifacts.schema import schema_validator  # noqa: F401
    from onnx_ml_bridge.artifacts.store.cache import Cache
    from onnx_ml_bridge.artifacts.store.pull import pull
    from onnx_ml_bridge.artifacts.store.spec import Spec
    from onnx_ml_bridge.artifacts.store.web import WebBackend

    reader = WebBackend.open(address)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    if how == "pull":
        pull(reader, Spec.parse("tiny-embedding"), Cache(target))
    else:
        download_plainly(address, key, Path(target))
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": seconds, "cpu": cpu, "memory": (after.ru_maxrss - before.ru_maxrss) * 1024}))


def download_plainly(address: str, key: str, target: Path) -> None:
    """Download one object in ranges of the same size, as many at a time, and write them in order."""
    import obstore
    from obstore.store import HTTPStore

    store = HTTPStore(address, client_options={"allow_http": True})
    size = obstore.head(store, key)["size"]
    target.mkdir()
    with ThreadPoolExecutor(IN_FLIGHT) as pool, (target / "data.bin").open("wb", buffering=0) as file:
        starts = iter(range(0, size, PART_BYTES))
        waiting = []
        for start in starts:
            waiting.append(pool.submit(obstore.get_range, store, key, start=start, end=min(start + PART_BYTES, size)))
            if len(waiting) == IN_FLIGHT:
                file.write(waiting.pop(0).result())
        for part in waiting:
            file.write(part.result())


def write_store(root: Path, size: int) -> str:
    """Write a store with one artifact that has a file of random bytes; return its identity."""
    from onnx_ml_bridge.artifacts.checks import hash_line
    from onnx_ml_bridge.artifacts.store.layout import artifact_key, tag_key
    from onnx_ml_bridge.artifacts.store.records import TagRecord
    from onnx_ml_bridge.artifacts.strict_json import canonical

    folder = root / "artifact"
    shutil.copytree(BASE, folder)
    digest = hashlib.sha256()
    with (folder / "data.bin").open("wb") as file:
        for start in range(0, size, 1 << 20):
            block = os.urandom(min(1 << 20, size - start))
            file.write(block)
            digest.update(block)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["data.bin"] = {"size": size, "sha256": digest.hexdigest()}
    raw = canonical(manifest)
    identity = hashlib.sha256(raw).hexdigest()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_bytes(hash_line(identity))
    (root / "artifacts").mkdir()
    folder.rename(root / artifact_key(identity))
    record = root / tag_key(manifest["name"], "latest")
    record.parent.mkdir(parents=True)
    record.write_bytes(TagRecord(manifest["version"], identity).to_bytes())
    return identity


_SERVER = """
import os, re, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *arguments): pass
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        with open(sys.argv[1] + self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = re.fullmatch(r"bytes=(\\d+)-(\\d+)", self.headers.get("Range", ""))
            start, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            while self.command == "GET" and start < end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def web_server(root: Path) -> Iterator[str]:
    """Serve a folder in another process, which copies nothing."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
