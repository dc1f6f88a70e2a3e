"""The number of CPUs that a process may use."""

import os

from onnx_ml_bridge.runtime import cpu


def test_usable_cpus_are_limited_by_affinity_and_quota(tmp_path):
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "a" / "b").mkdir(parents=True)
    own.write_text("0::/a/b\n")
    assert cpu._cgroup_quota(root, own) is None
    (root / "a" / "cpu.max").write_text("150000 100000\n")
    (root / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert cpu._cgroup_quota(root, own) == 1.5
    assert 1 <= cpu.usable_cpus() <= len(os.sched_getaffinity(0))
