"""The publishers, readers and the garbage collector of a race, each in a process of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_ml_bridge import Store
from onnx_ml_bridge.artifacts.checks import Artifact, check_hashes, read_artifact
from onnx_ml_bridge.artifacts.errors import OnnxMlBridgeError, StoreError
from onnx_ml_bridge.artifacts.store.resolve import Resolved
from store_files import NAME, sealed_version

TAG = "shared"
# What the processes report at their end: counts by name, the versions that were not yanked, and tracebacks
Report = dict[str, Any]


@dataclass(frozen=True)
class Race:
    """A race: the store, a folder for what the processes write, and when they end.

    :param end: in seconds since 1970; every process does at least one round.
    :param grace: how long gc keeps what nothing names, in seconds. Readers and publishers have to be faster: one that a
        busy machine makes slower tries again.
    :param environment: variables of all processes.
    """

    address: str
    scratch: Path
    end: float
    grace: float
    has_locks: bool = True
    environment: Mapping[str, str] | None = None

    @property
    def is_over(self) -> bool:
        return time.time() > self.end

    def is_late(self, began: float) -> bool:
        """Whether gc may have deleted what an operation uses that began at this time of the monotonic clock."""
        return time.monotonic() - began > self.grace

    @property
    def is_bucket(self) -> bool:
        return "://" in self.address


def run(race: Race, publishers: int, readers: int) -> list[Report]:
    """Run all processes, and return their reports.

    They are not forks of this process, which may have used a bucket.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["onnx_ml_bridge.artifacts.store.store", "onnx_ml_bridge.artifacts.checks"])
    results = context.Queue()
    actions: list[tuple[Callable[..., Report], int]] = [(publisher, number) for number in range(publishers)]
    actions += [(reader, number) for number in range(readers)] + [(collector, 0)]
    processes = [context.Process(target=_worker, args=(action, race, number, results)) for action, number in actions]
    for process in processes:
        process.start()
    reports = [results.get(timeout=race.end - time.time() + 600) for _ in processes]
    for process in processes:
        process.join()
    return reports


def _worker(action: Callable[..., Report], race: Race, number: int, results: Any) -> None:
    os.environ.update(race.environment or {})
    if not race.has_locks:
        import filelock

        filelock.FileLock.acquire = _without_locks  # type: ignore[method-assign]
    try:
        results.put(action(race, number))
    except BaseException:
        results.put({"failed": [traceback.format_exc()[-800:]]})


def _without_locks(*_: object, **__: object) -> Any:
    raise NotImplementedError("this file system has no locks")


def publisher(race: Race, number: int) -> Report:
    """Publish versions, yank them again, and move a tag; return what was acknowledged."""
    store, source, done = Store(race.address), random.Random(number), Counter[str]()
    kept: set[str] = set()
    for count in itertools.count():
        if race.is_over and count:
            break
        version = f"1.{number}.{count}"
        folder = race.scratch / f"artifact-{number}"
        sealed_version(folder, version)
        _publish(race, store, folder)
        shutil.rmtree(folder)
        done["published"] += 1
        kept.add(version)
        done["moved" if _is_acknowledged(lambda v=version: store.promote(NAME, v, TAG)) else "conflicts"] += 1
        for earlier in source.sample(sorted(kept - {version}), min(1, len(kept) - 1)):
            if _is_acknowledged(lambda v=earlier: store.yank(NAME, v)):
                kept.discard(earlier)
                done["yanked"] += 1
    return {"kept": sorted(kept), **done}


def _publish(race: Race, store: Store, folder: Path) -> None:
    """Publish an artifact, again if that took longer than gc keeps it: it may have deleted some of it."""
    is_late = True
    while is_late:
        began = time.monotonic()
        try:
            store.publish(folder)
        except (OSError, OnnxMlBridgeError):
            if not race.is_late(began):
                raise
        is_late = race.is_late(began)


def _is_acknowledged(change: Callable[[], object]) -> bool:
    """Make a change of a record, unless another publisher is in its way; return whether it was made."""
    try:
        change()
    except StoreError as error:
        if error.code != "conflict":
            raise
        return False
    return True


def reader(race: Race, number: int) -> Report:
    """Resolve a tag, and check all files of its artifact; those of a bucket are downloaded each time."""
    cache = race.scratch / f"cache-{number}"
    store, reads = Store(race.address, cache=cache), 0
    while not (race.is_over and reads):
        began = time.monotonic()
        try:
            resolved = store.resolve(f"{NAME}@{TAG}")
        except StoreError as error:
            if error.code != "not_found" or reads:
                raise
            continue
        try:
            artifact = _read(race, store, resolved)
        except (OSError, OnnxMlBridgeError):
            if not race.is_late(began):
                raise
            continue
        assert artifact.identity == resolved.identity and artifact.manifest.version == resolved.version
        shutil.rmtree(cache, ignore_errors=True)
        reads += 1
    return {"reads": reads}


def _read(race: Race, store: Store, resolved: Resolved) -> Artifact:
    """Read all files of an artifact."""
    if race.is_bucket:
        path = store.pull(f"{NAME}@{resolved.version}#sha256:{resolved.identity}")
    else:
        path = Path(race.address) / "artifacts" / resolved.identity
    artifact = read_artifact(path)
    check_hashes(artifact, artifact.manifest.files)
    return artifact


def collector(race: Race, _: int) -> Report:
    """Delete what nothing names, again and again."""
    store, deleted = Store(race.address), 0
    while not race.is_over:
        deleted += len(store.gc(grace=race.grace).artifacts)
        time.sleep(0.2)
    return {"deleted": deleted}


def copied(address: str, folder: Path) -> Path:
    """Copy all objects of a bucket to a folder."""
    from onnx_ml_bridge.artifacts.store.remote import BucketBackend

    bucket = BucketBackend.open(address)
    for top in ("artifacts", "models"):
        for entry in list(bucket.entries(top)):
            path = folder / entry.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(bytes(piece) for piece in bucket.read(entry.key, 0, entry.size)))
    return folder
