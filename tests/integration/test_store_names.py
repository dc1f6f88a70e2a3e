"""Models that are named by their names in a store: in the API, in bridge.toml, in commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx_ml_bridge import BridgeOptions, Embedder, Model, OnnxMlBridge, OnnxMlBridgeError, open_bridge, verify
from onnx_ml_bridge.artifacts.errors import ConfigError
from onnx_ml_bridge.artifacts.store.layout import tag_key
from onnx_ml_bridge.artifacts.store.records import TagRecord
from onnx_ml_bridge.cli.main import create_app
from store_files import NAME, laid_out, sealed_version
from store_servers import WebServer, web_server
from typer.testing import CliRunner

pytestmark = pytest.mark.families("sentence_embedding")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONNX_ML_BRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ONNX_ML_BRIDGE_STORE", raising=False)


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, str]:
    """The identities of the versions in a store in the folder `store`; `latest` is 1.0.0."""
    made = {}
    for version, tags in (("1.0.0", ("latest",)), ("1.1.0", ())):
        sealed_version(tmp_path / version, version)
        made[version] = laid_out(tmp_path / "store", tmp_path / version, *tags)
    return made


@pytest.fixture
def server(tmp_path: Path, identities: dict[str, str]) -> Iterator[WebServer]:
    with web_server(tmp_path / "store") as running:
        yield running


@pytest.fixture(params=["folder", "web"])
def address(request: pytest.FixtureRequest, tmp_path: Path, identities: dict[str, str]) -> str:
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("server").address


def move_latest(tmp_path: Path, version: str, identity: str) -> None:
    path = tmp_path / "store" / tag_key(NAME, "latest")
    path.write_bytes(TagRecord.from_bytes(path.read_bytes(), "").moved(version, identity).to_bytes())


def test_a_bridge_opens_models_of_a_store(address: str, identities: dict[str, str]):
    models = (Model(f"store:{NAME}", "a"), Model(f"store:{NAME}@1.1.0#sha256:{identities['1.1.0']}", "b"))
    with OnnxMlBridge.open(*models, options=BridgeOptions(store=address)) as bridge:
        assert [info.version for info in bridge.models()] == ["1.0.0", "1.1.0"]
        assert bridge.add(Model(f"store:{NAME}@latest", "c")).identity == identities["1.0.0"]
        assert bridge.generate_embedding("hello", model="b").shape == (16,)


def test_a_handle_is_reloaded_with_what_its_tag_means_now(
    address: str, tmp_path: Path, identities: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    with Embedder.open(f"store:{NAME}") as handle:
        move_latest(tmp_path, "1.1.0", identities["1.1.0"])
        assert handle.info.version == "1.0.0"
        assert handle.reload().version == "1.1.0"
        assert handle.reload(f"store:{NAME}@1.0.0").version == "1.0.0"
        with pytest.raises(OnnxMlBridgeError) as refused:
            handle.reload(f"store:{NAME}@3.0.0")
        assert refused.value.code == "not_found"
        assert handle.info.version == "1.0.0"


def test_the_identity_of_a_model_pins_its_name(server: WebServer, identities: dict[str, str]):
    options = BridgeOptions(store=server.address)
    with pytest.raises(OnnxMlBridgeError) as refused:
        Embedder.open(Model(f"store:{NAME}", identity=identities["1.1.0"]), options)
    assert refused.value.code == "identity"
    Embedder.open(Model(f"store:{NAME}@1.1.0", identity=identities["1.1.0"]), options).close()
    server.requests.clear()
    Embedder.open(Model(f"store:{NAME}@1.1.0", identity=identities["1.1.0"]), options).close()
    assert not server.requests


def test_without_a_network_the_cache_answers(
    server: WebServer, identities: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    options = BridgeOptions(store=server.address)
    Embedder.open(f"store:{NAME}", options).close()
    server.requests.clear()
    monkeypatch.setenv("ONNX_ML_BRIDGE_OFFLINE", "1")
    with Embedder.open(f"store:{NAME}", options) as handle:
        assert handle.info.identity == identities["1.0.0"]
    with pytest.raises(OnnxMlBridgeError) as refused:
        Embedder.open(f"store:{NAME}@1.1.0", options)
    assert refused.value.code == "offline"
    assert not server.requests


def test_a_bridge_toml_names_a_store_and_its_models(tmp_path: Path, identities: dict[str, str]):
    file = tmp_path / "bridge.toml"
    file.write_text(f'[bridge]\nstore = "store"\n[models.a]\npath = "store:{NAME}@1.1.0"\n[models.b]\npath = "1.0.0"\n')
    with open_bridge(file) as bridge:
        assert [info.version for info in bridge.models()] == ["1.1.0", "1.0.0"]


def test_a_name_without_a_store_is_refused():
    with pytest.raises(ConfigError, match="ONNX_ML_BRIDGE_STORE"):
        Embedder.open(f"store:{NAME}")


@pytest.mark.parametrize("path", ["store:", "store:Name", "store:a@", "store:a#sha256:12", "store:a@1.0.0+1"])
def test_an_invalid_name_is_refused(path: str, tmp_path: Path):
    with pytest.raises(ConfigError):
        Embedder.open(path, BridgeOptions(store=tmp_path))


def invoke(*arguments: str, text: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(create_app(), arguments, input=text)
    return result.exit_code, result.stdout


def test_commands_take_names(address: str, identities: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    for arguments in (("show", f"store:{NAME}@1.1.0", "--json"), ("verify", f"store:{NAME}@1.1.0", "--json")):
        status, output = invoke(*arguments)
        assert (status, json.loads(output)["identity"]) == (0, identities["1.1.0"])
    status, output = invoke("embed", "--model", f"store:{NAME}", text='"hello"\n')
    assert (status, len(json.loads(output)["embedding"])) == (0, 16)
    assert invoke("embed", "--model", f"store:{NAME}@2.0.0", text='"hello"\n')[0] == 5


def test_commands_take_the_address_of_the_store(address: str, identities: dict[str, str]):
    status, output = invoke("embed", "--model", f"store:{NAME}", "--store", address, text='"hello"\n')
    assert (status, len(json.loads(output)["embedding"])) == (0, 16)
    for command in ("show", "verify"):
        status, output = invoke(command, f"store:{NAME}", "--store", address, "--json")
        assert (status, json.loads(output)["identity"]) == (0, identities["1.0.0"])
    assert invoke("embed", "--model", f"store:{NAME}", text='"hello"\n')[0] == 5


@pytest.mark.parametrize("command", ["show", "verify", "embed", "ner", "rerank", "summarize", "a run over a file"])
def test_commands_refuse_stores_elsewhere_if_models_must_be_local(
    command: str, server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = {
        "show": ("show", f"store:{NAME}", "--json"),
        "verify": ("verify", f"store:{NAME}", "--json"),
        "a run over a file": ("embed", "--model", f"store:{NAME}", "--input", str(tmp_path / "texts.jsonl")),
    }.get(command, (command, "--model", f"store:{NAME}"))
    if command == "a run over a file":
        (tmp_path / "texts.jsonl").write_text('"hello"\n')
        arguments += ("--output", str(tmp_path / "out"))
    monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", "1")
    result = CliRunner().invoke(create_app(), [*arguments, "--store", server.address], input="")
    assert result.exit_code != 0 and "error[not_local]" in result.output, result.output
    assert not server.requests


def test_verify_refuses_a_store_elsewhere_if_models_must_be_local(server: WebServer, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", "1")
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", server.address)
    with pytest.raises(OnnxMlBridgeError) as refused:
        verify(f"store:{NAME}")
    assert refused.value.code == "not_local" and not server.requests
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", str(tmp_path / "store"))
    assert verify(f"store:{NAME}").version == "1.0.0"


def test_a_run_over_a_file_takes_a_name(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    (tmp_path / "texts.jsonl").write_text('"hello"\n"world"\n')
    files = ("--input", str(tmp_path / "texts.jsonl"), "--output", str(tmp_path / "out"))
    assert invoke("embed", "--model", f"store:{NAME}", *files)[0] == 0
    assert len(next((tmp_path / "out").glob("part-*.jsonl")).read_text().splitlines()) == 2


def test_the_settings_of_other_machines_are_pinned(address: str, identities: dict[str, str], monkeypatch):
    from onnx_ml_bridge.cli.bulk.task import RowSettings

    monkeypatch.setenv("ONNX_ML_BRIDGE_STORE", address)
    settings = RowSettings(Path(f"store:{NAME}"), "auto")
    with Embedder.open(settings.to_model()) as handle:
        pinned = settings.pinned_to(handle.info)
    assert str(pinned.model) == f"store:{NAME}@1.0.0#sha256:{identities['1.0.0']}"
    assert pinned.variant == handle.info.variant
    assert pinned.identity == handle.info.identity
    assert RowSettings(Path("dist/x"), "auto", keys=(Path("a"),)).pinned_to(handle.info).keys == (Path("a"),)


def test_the_settings_of_other_machines_pin_an_artifact_in_a_folder(tmp_path: Path):
    from onnx_ml_bridge.cli.bulk.task import RowSettings

    for version in ("1.0.0", "1.1.0"):
        sealed_version(tmp_path / version, version)
    (tmp_path / "1.0.0").rename(tmp_path / "model")
    settings = RowSettings(tmp_path / "model", "auto")
    with Embedder.open(settings.to_model()) as handle:
        pinned = settings.pinned_to(handle.info)
    assert (pinned.model, pinned.identity) == (settings.model, handle.info.identity)
    Embedder.open(pinned.to_model()).close()
    (tmp_path / "model").rename(tmp_path / "1.0.0")
    (tmp_path / "1.1.0").rename(tmp_path / "model")
    with pytest.raises(OnnxMlBridgeError) as refused:  # what a worker opens after a restart
        Embedder.open(pinned.to_model())
    assert refused.value.code == "identity"


def test_pull_prints_the_folder(address: str, identities: dict[str, str]):
    status, output = invoke("pull", NAME, "--store", address)
    assert (status, Path(output.strip()).name) == (0, identities["1.0.0"])
    status, output = invoke("pull", f"{NAME}@1.1.0", "--store", address, "--json")
    answer = json.loads(output)
    assert (status, answer["ok"], answer["version"], answer["identity"]) == (0, True, "1.1.0", identities["1.1.0"])
    assert (Path(answer["path"]) / "manifest.json").is_file()
    status, output = invoke("pull", f"{NAME}@2.0.0", "--store", address, "--json")
    assert (status, json.loads(output)["error"]["code"]) == (5, "not_found")
    assert invoke("pull", f"{NAME}@1.0.0#sha256:{'0' * 64}", "--store", address, "--json")[0] == 5
