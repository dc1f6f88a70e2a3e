"""Runs over files on a local Ray cluster of two workers: `make test-ray`, in an environment with the extra [ray].

The tests of the other folders do not require Ray, so that these are left out where it is not installed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from bulk_runs import PYTHON, arguments, contents, run, write_rows

pytest.importorskip("ray")
ROWS, PART_ROWS = 1200, 10


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """The files of a run in one process."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert run(PYTHON, rows, folder, "--part-rows", PART_ROWS, "--threads", 1).returncode == 1
    return contents(folder)


@pytest.fixture(scope="module")
def cluster():
    """The address of a local cluster: two processors for the workers, and two for Ray itself."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    context = ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield context.address_info["address"]
    ray.shutdown()


def workers() -> list[int]:
    """The processes that hold the model: the actors of Ray that run PartWorker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::" in (text := path.read_bytes()) and b"PartWorker" in text:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def on_ray(rows, folder, cluster, *options):
    return arguments(
        PYTHON, rows, folder, "--part-rows", PART_ROWS, "--ray", cluster, "--ray-workers", 2, "--threads", 1, *options
    )


def test_two_workers_write_the_bytes_of_one_process(rows, whole, cluster, tmp_path):
    done = subprocess.run(on_ray(rows, tmp_path, cluster), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert contents(tmp_path) == whole
    kept = (tmp_path / "part-00000001.jsonl").stat().st_ino
    (tmp_path / "part-00000000.jsonl").unlink()
    done = subprocess.run(on_ray(rows, tmp_path, cluster, "--resume"), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert contents(tmp_path) == whole
    assert (tmp_path / "part-00000001.jsonl").stat().st_ino == kept


def test_a_killed_worker_loses_no_row(rows, whole, cluster, tmp_path):
    killed = []

    def kill() -> None:
        while not list(tmp_path.glob("part-*")):
            time.sleep(0.01)
        victim = workers()[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(len(list(tmp_path.glob("part-*"))))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    done = subprocess.run(on_ray(rows, tmp_path, cluster), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert killed and killed[0] < len(whole) - 1, "the worker was killed too late"
    assert contents(tmp_path) == whole
