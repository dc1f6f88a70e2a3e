"""Files that are written to disk."""

from __future__ import annotations

import os
import threading

from onnx_ml_bridge.artifacts.new_file import sync_tree


def test_all_files_are_on_disk_also_if_the_system_refuses_threads(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    files = {tmp_path / "a", tmp_path / "folder" / "b"}
    for file in files:
        file.write_text("text")
    synced, real = set(), os.fsync

    def fsync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    sync_tree(tmp_path)
    assert synced == {path.stat().st_ino for path in (*files, tmp_path, tmp_path / "folder")}
