"""Random histories of a store, compared with a model of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from onnx_ml_bridge import Store
from onnx_ml_bridge.artifacts.errors import StoreError
from onnx_ml_bridge.artifacts.store.spec import precedence
from store_files import NAME, sealed_version
from store_state import problems

VERSIONS = ("0.9.0", "1.0.0-rc.1", "1.0.0", "1.10.0", "1.9.0")
TAGS = ("latest", "stable")


class History(RuleBasedStateMachine):
    """Every rule makes one change in the store and in the model: dictionaries of versions, yanked ones, and tags."""

    folder: Path

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=self.folder))
        self.store = Store(self.root)
        self.versions: dict[str, str] = {}
        self.yanked: set[str] = set()
        self.tags: dict[str, list[str]] = {}
        self.revisions: dict[str, int] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(version=st.sampled_from(VERSIONS), other=st.booleans())
    def publish(self, version: str, other: bool) -> None:
        folder = self.folder / f"{version}-{other}"
        identity = (folder / "manifest.sha256").read_text().split()[0]
        known = self.versions.get(version)
        if version in self.yanked or known not in (None, identity):
            self.refused("exists", lambda: self.store.publish(folder))
        else:
            assert self.store.publish(folder).is_new == (known is None)
            self.versions[version] = identity

    @rule(version=st.sampled_from(VERSIONS), tag=st.sampled_from(TAGS))
    def promote(self, version: str, tag: str) -> None:
        if version not in self.versions or version in self.yanked:
            self.refused("not_found", lambda: self.store.promote(NAME, version, tag))
            return
        self.store.promote(NAME, version, tag)
        history = self.tags.get(tag, [])
        if history[-1:] != [version]:
            self.tags[tag] = [*(each for each in history[:-1] if each != version), *history[-1:], version]
            self.revisions[tag] = self.revisions.get(tag, 0) + 1

    @rule(tag=st.sampled_from(TAGS))
    def rollback(self, tag: str) -> None:
        earlier = [each for each in self.tags.get(tag, [])[:-1] if each not in self.yanked]
        if not earlier:
            self.refused("not_found", lambda: self.store.rollback(NAME, tag))
            return
        assert self.store.rollback(NAME, tag).version == earlier[-1]
        history = self.tags[tag]
        self.tags[tag] = history[: len(history) - history[-2::-1].index(earlier[-1]) - 1]
        self.revisions[tag] += 1

    @rule(version=st.sampled_from(VERSIONS))
    def yank(self, version: str) -> None:
        if version not in self.versions:
            self.refused("not_found", lambda: self.store.yank(NAME, version))
        elif version in (history[-1] for history in self.tags.values()) and version not in self.yanked:
            self.refused("conflict", lambda: self.store.yank(NAME, version))
        else:
            self.store.yank(NAME, version)
            self.yanked.add(version)

    @rule()
    def collect(self) -> None:
        self.store.gc(grace=-1.0)
        named = {identity for version, identity in self.versions.items() if version not in self.yanked}
        artifacts = self.root / "artifacts"
        assert {path.name for path in artifacts.iterdir()} == named if artifacts.exists() else not named

    @invariant()
    def is_as_in_the_model(self) -> None:
        if not hasattr(self, "root"):
            return
        assert problems(self.root) == []
        if self.versions:
            expected = sorted(self.versions.keys() - self.yanked, key=precedence)
            assert [each.version for each in self.store.versions(NAME)] == expected
        found = {each.tag: (each.version, each.revision) for each in self.store.tags(NAME)}
        assert found == {tag: (history[-1], self.revisions[tag]) for tag, history in self.tags.items()}

    @staticmethod
    def refused(code: str, action: object) -> None:
        with pytest.raises(StoreError) as caught:
            action()  # type: ignore[operator]
        assert caught.value.code == code


@pytest.mark.families("sentence_embedding")
def test_random_histories(tmp_path):
    for version in VERSIONS:
        sealed_version(tmp_path / f"{version}-False", version)
        sealed_version(tmp_path / f"{version}-True", version, {"extra": b"other"})
    machine = type("Machine", (History,), {"folder": tmp_path}).TestCase
    machine.settings = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine().runTest()
