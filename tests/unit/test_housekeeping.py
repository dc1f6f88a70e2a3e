"""The thread that unloads idle models."""

from __future__ import annotations

import threading
import time

from onnx_ml_bridge.runtime import housekeeping
from onnx_ml_bridge.runtime.meter import UnloadReason


class FakeModel:
    """A loaded model that no call uses."""

    def __init__(self, idle_unload: float) -> None:
        self.idle_unload = idle_unload
        self.last_use = time.monotonic()
        self.unloaded = threading.Event()

    @property
    def is_loaded(self) -> bool:
        return not self.unloaded.is_set()

    def note_use(self) -> None:
        pass

    def unload(self, reason: UnloadReason, unused_since: float | None = None) -> bool:
        assert reason is UnloadReason.IDLE
        if unused_since is not None and self.last_use > unused_since:
            return False
        self.unloaded.set()
        return True


def test_a_model_that_is_loaded_during_a_look_is_unloaded_in_time(monkeypatch):
    monkeypatch.setattr(housekeeping, "_INTERVAL", 3600.0)
    housekeeper = housekeeping._Housekeeper()
    first, late = FakeModel(idle_unload=3600), FakeModel(idle_unload=0.05)
    looks = []

    def unload_idle(models, now):
        looks.append(now)
        if len(looks) == 1:
            housekeeper.watch(late)
        original(models, now)

    original = housekeeping.unload_idle
    monkeypatch.setattr(housekeeping, "unload_idle", unload_idle)
    housekeeper.watch(first)
    assert late.unloaded.wait(30)
    assert first.is_loaded
    first.unloaded.set()  # the thread ends
    housekeeper.watch(late)
