"""Both languages read what `Store` writes, and use one cache: each finds offline what the other resolved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_ml_bridge import OnnxMlBridge, Store
from onnx_ml_bridge.artifacts.errors import StoreError
from rust_command import rust_with_stores
from store_files import NAME, laid_out, sealed_version
from store_servers import web_server

PYTHON = [sys.executable, "-m", "onnx_ml_bridge"]


pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture
def binary() -> Path:
    return rust_with_stores()


def test_both_languages_share_a_cache(binary: Path, tmp_path: Path):
    identity = sealed_version(tmp_path / "artifact", extra={"data/random.bin": os.urandom(20_000_000)})
    laid_out(tmp_path / "store", tmp_path / "artifact", "latest")
    commands = [[str(binary), "pull", NAME], [*PYTHON, "pull", NAME]]
    with web_server(tmp_path / "store") as server:
        environment = {
            **os.environ,
            "ONNX_ML_BRIDGE_STORE": server.address,
            "ONNX_ML_BRIDGE_CACHE": str(tmp_path / "cache"),
        }
        running = [subprocess.Popen(each, env=environment, stdout=subprocess.PIPE, text=True) for each in commands * 2]
        answers = {process.communicate(timeout=120)[0] for process in running}
        assert answers == {f"{tmp_path / 'cache' / 'artifacts' / identity}\n"}
        assert sum(count for key, count in server.requests.items() if key.endswith("random.bin")) == 3

        server.requests.clear()
        environment["ONNX_ML_BRIDGE_OFFLINE"] = "1"
        for command in commands:
            result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            assert result.stdout in answers, result.stderr
        assert not server.requests


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_address")


@pytest.fixture
def ask(address: str, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The function `ask(*arguments)`: what a command of both languages says of the store, which has to be equal."""
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    monkeypatch.setenv("ONNX_ML_BRIDGE_CACHE", str(tmp_path / "own"))

    def answer(command: list[str], cache: str, arguments: tuple[str, ...]) -> dict[str, Any]:
        environment = os.environ | {"ONNX_ML_BRIDGE_CACHE": str(tmp_path / cache)}
        done = subprocess.run(
            [*command, *arguments, "--json"], env=environment, capture_output=True, text=True, timeout=120
        )
        given: dict[str, Any] = json.loads(done.stdout)
        if "path" in given:
            given["path"] = given["path"].replace(str(tmp_path / cache), "CACHE")
        keys = ("ok", "name", "version", "identity", "models", "updates", "path")
        return {key: given[key] for key in keys if key in given} | {"code": given.get("error", {}).get("code")}

    def ask(*arguments: str) -> dict[str, Any]:
        rust, python = answer([str(binary)], "rust", arguments), answer(PYTHON, "python", arguments)
        assert rust == python, arguments
        return rust

    return ask


def test_both_languages_print_the_same_lists(
    ask: Callable[..., dict[str, Any]], binary: Path, address: str, tmp_path: Path
):
    (tmp_path / "store").mkdir()  # Rust, which only reads, refuses a folder that does not exist
    store = Store(address)
    assert ask("list")["models"] == [] and ask("list", NAME)["code"] == "not_found"
    assert _printed(binary, "list") == "the store is empty\n"
    for version in ("1.0.0", "1.1.0", "1.10.0", "2.0.0-rc.1"):
        sealed_version(tmp_path / version, version)
        store.publish(tmp_path / version, tags=("latest", "beta") if version == "1.1.0" else ())
    sealed_version(tmp_path / "other", name="other")
    store.publish(tmp_path / "other")
    assert [each["name"] for each in ask("list")["models"]] == ["other", NAME]
    assert ask("list", NAME)["models"][0]["tags"][0]["tag"] == "beta"
    for arguments in (["list"], ["list", NAME], ["updates", NAME]):
        assert "1.10.0" in _printed(binary, *arguments)
    assert _printed(binary, "updates", f"{NAME}@1.10.0") == "no updates\n"
    store.yank("other", "1.0.0")
    assert ask("list", "other")["models"][0]["versions"] == []
    assert "1.0.0" not in _printed(binary, "list", "other")


def _printed(binary: Path, *arguments: str) -> str:
    """What a command of both languages prints without --json, which has to be equal."""
    rust, python = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=True).stdout
        for command in ([str(binary)], PYTHON)
    )
    assert rust == python, arguments
    return rust


def test_both_languages_follow_the_life_of_a_model(ask: Callable[..., dict[str, Any]], address: str, tmp_path: Path):
    first, second = (sealed_version(tmp_path / version, version) for version in ("1.0.0", "1.1.0"))
    store = Store(address)
    assert store.publish(tmp_path / "1.0.0").is_new
    assert ask("pull", NAME)["code"] == "not_found"
    store.promote(NAME, "1.0.0", "latest")
    assert ask("pull", NAME)["identity"] == first
    with OnnxMlBridge.open(f"store:{NAME}") as bridge:
        assert bridge.models()[0].identity == first and bridge.generate_embedding("hello").any()
    assert ask("verify", f"store:{NAME}")["ok"]

    store.publish(tmp_path / "1.1.0")
    assert not store.publish(tmp_path / "1.1.0").is_new
    assert ask("pull", NAME)["version"] == "1.0.0"
    assert ask("updates", NAME)["updates"] == [{"version": "1.1.0", "identity": second}]
    store.promote(NAME, "1.1.0", "latest", if_current="1.0.0")
    assert ask("pull", NAME)["identity"] == second and ask("updates", NAME)["updates"] == []
    assert ask("verify", f"store:{NAME}")["identity"] == second

    assert store.rollback(NAME, "latest").version == "1.0.0"
    assert ask("pull", NAME)["identity"] == first
    store.yank(NAME, "1.1.0")
    assert ask("pull", f"{NAME}@1.1.0")["code"] == "not_found" and ask("updates", NAME)["updates"] == []
    assert store.gc(grace=3600.0).artifacts == ()
    assert store.gc(grace=-1.0).artifacts == (second,)
    assert ask("pull", NAME)["identity"] == first and ask("verify", f"store:{NAME}")["ok"]
    with pytest.raises(StoreError) as refused:
        store.publish(tmp_path / "1.1.0")
    assert refused.value.code == "exists"
