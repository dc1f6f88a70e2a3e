"""Sources of a model hub: a local server answers as the hub does, and fails as networks and hubs do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, MODEL, Hub, serve

TOKEN = "hf_secretsecretsecretsecretsecret"
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"---\nlicense: mit\n---\n",
    "model.safetensors": b"weights" * 300_000,
    "image.png": b"no file of a model",
}
# A process of its own, because huggingface_hub reads the environment when it is imported
SCRIPT = """
import json, sys
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.export.source import resolve_source
try:
    found = resolve_source(sys.argv[1], weights_sha256=sys.argv[2] or None)
    names = sorted(path.name for path in found.folder.iterdir())
    print(json.dumps({"names": names, "revision": found.source.revision, "weights": found.source.weights_sha256}))
except BuildError as error:
    print(json.dumps({"code": error.code, "message": str(error)}))
"""


@pytest.fixture
def resolve(tmp_path):
    """The function `resolve(hub, ...)`, which resolves a source in a new process with a cache of its own."""

    def run(hub: Hub, source: str = f"hub:{MODEL}@{COMMIT}", *, pin: str = "", **environment: str) -> dict[str, Any]:
        own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "NO_PROXY": ""}
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, source, pin],
            env={**clean, **own, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert TOKEN not in done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def blobs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "hub").glob("**/blobs/*"))


def test_a_model_is_downloaded_once_and_pinned_by_its_weights(resolve):
    with serve(Hub(FILES)) as hub:
        found = resolve(hub, f"hub:{MODEL}")
        assert (found["names"], found["revision"]) == (["README.md", "config.json", "model.safetensors"], COMMIT)
        downloads = sum(count for request, count in hub.requests.items() if "GET /someone" in request)
        assert downloads == 3
        assert resolve(hub, pin=found["weights"]) == found
        refused = resolve(hub, pin="0" * 64)
        assert (refused["code"], found["weights"] in refused["message"]) == ("source", True)
        assert sum(count for request, count in hub.requests.items() if "GET /someone" in request) == downloads
    assert resolve(hub, HF_HUB_OFFLINE="1") == found


def test_all_components_of_a_spacy_pipeline_are_downloaded(resolve):
    names = ["topics", "entity_linker", "odd[1]"]
    config = f'[nlp]\nlang = "en"\npipeline = {json.dumps(names)}\n\n[components]\n'
    kept = ("entity_linker/kb/x", "meta.json", "odd[1]/model", "tokenizer", "topics.jsonl", "topics/model", "vocab/x")
    others = ("odd1/model", "pipeline.whl", "topics_old/model")
    files = {"config.cfg": config.encode()} | {name: b'{"license": "mit"}' for name in (*kept, *others)}
    with serve(Hub(files)) as hub:
        found = resolve(hub)
        assert found["names"] == sorted({"config.cfg", *(name.partition("/")[0] for name in kept)})
    assert resolve(hub, HF_HUB_OFFLINE="1") == found


@pytest.mark.parametrize("text", ["no sections", "[nlp]\npipeline = [", "[nlp]\npipeline = [5]"])
def test_a_pipeline_whose_components_cannot_be_read_is_refused(resolve, text):
    with serve(Hub({"config.cfg": text.encode(), "meta.json": b"{}"})) as hub:
        refused = resolve(hub)
    assert (refused["code"], "config.cfg" in refused["message"]) == ("source", True)


def test_a_download_that_breaks_off_is_resumed(resolve):
    """The library keeps what it has received in steps of 10 MiB."""
    files = {**FILES, "model.safetensors": bytes(24_000_000)}
    with serve(Hub(files, cut={"model.safetensors": [15_000_000]})) as hub:
        assert resolve(hub)["revision"] == COMMIT
    assert hub.ranges == [f"bytes={10 << 20}-"]


def test_a_file_that_stays_too_short_is_refused(resolve):
    with serve(Hub(FILES, cut={"config.json": [5] * 100})) as hub:
        assert resolve(hub)["code"] == "source"
        hub.cut.clear()
        assert resolve(hub)["revision"] == COMMIT


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_flipped_byte_is_found(resolve, tmp_path, name):
    with serve(Hub(FILES, flip={name})) as hub:
        refused = resolve(hub)
        assert (refused["code"], name in refused["message"]) == ("source", True)
        corrupted = next(blob for blob in blobs(tmp_path) if str(blob) in refused["message"])
        hub.flip.clear()
        assert resolve(hub)["code"] == "source"  # the cache still has the file
        corrupted.unlink()
        assert resolve(hub)["revision"] == COMMIT


def test_a_token_is_sent_and_never_shown(resolve):
    with serve(Hub(FILES, token=TOKEN)) as hub:
        refused = resolve(hub)
        assert (refused["code"], "HF_TOKEN" in refused["message"]) == ("source", True)
        assert resolve(hub, HF_TOKEN=TOKEN)["revision"] == COMMIT


@pytest.mark.parametrize("source", [f"hub:{MODEL}@nothing", "hub:someone/other", "hub:not a name", "hub:a/b/c"])
def test_a_model_that_does_not_exist_is_refused(resolve, source):
    with serve(Hub(FILES)) as hub:
        refused = resolve(hub, source)
    assert (refused["code"], source.removeprefix("hub:") in refused["message"]) == ("source", True)


def test_a_busy_hub_is_asked_again(resolve):
    statuses = {"/revision/": [429, 503], "/resolve/": [429], "/tree/": [502]}
    with serve(Hub(FILES, statuses=statuses)) as hub:
        assert resolve(hub, f"hub:{MODEL}@main")["revision"] == COMMIT
    assert not any(statuses.values())


def test_a_hub_that_stays_busy_is_refused(resolve):
    with serve(Hub(FILES, statuses={"/revision/": [429] * 100})) as hub:
        refused = resolve(hub, f"hub:{MODEL}@main")
    assert (refused["code"], "try again later" in refused["message"]) == ("source", True)


def test_a_hub_that_cannot_be_reached_or_is_none_is_refused(resolve):
    with serve(Hub(FILES)) as hub:
        pass
    assert resolve(hub)["code"] == "source"
    with serve(Hub({}, statuses={"": [200] * 100})) as hub:
        assert resolve(hub)["code"] == "source"


def test_a_proxy_is_used(resolve):
    with serve(Hub(FILES, is_proxy=True)) as proxy:
        found = resolve(proxy, HF_ENDPOINT="http://hub.test", HTTP_PROXY=proxy.address)
    assert found["revision"] == COMMIT
