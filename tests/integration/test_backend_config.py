"""One program runs with ONNX models, with a server, and with chains, and bridge.toml alone says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faulty_server import FaultyServer, faulty_server
from onnx_ml_bridge import (
    BackendError,
    CompositeMlBridge,
    InputError,
    OnnxMlBridge,
    OnnxMlBridgeError,
    SummarizeOptions,
    open_bridge,
)
from onnx_ml_bridge.backends.embeddings import plan_requests

pytest.importorskip("httpx2")
GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "backends.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in GOLDEN["configs"]}
ONNX = """
[models.sentences]
path = "valid/tiny-embedding"
[models.entities]
path = "valid/tiny-ner"
[models.summaries]
path = "valid/tiny-summary"
"""
SERVER = """
[backend.{name}]
kind = "openai"
base_url = "{url}"
max_attempts = 1
max_backoff_ms = 20
timeout_ms = 20000
embedding = {{ model = "m", dimensions = 4, space = "m" }}
ner = {{ model = "m", labels = ["PERSON"], temperature = "0.5" }}
summarization = {{ model = "m", prompt = "prompt.txt" }}
"""
CHAINS = (
    ONNX + SERVER + '[tasks]\nembedding = ["{name}"]\nner = ["entities"]\nsummarization = ["{name}", "summaries"]\n'
)
# The program of the acceptance; what it prints depends on the file alone
PROGRAM = """
import sys
from onnx_ml_bridge import open_bridge
with open_bridge(sys.argv[1], local_only=True) as bridge:
    print([info.backend for info in bridge.models()])
    print(len(bridge.generate_embedding("The lease was signed.")))
    print([entity.text for entity in bridge.extract_entities("So Kofi came.")])
    answer = bridge.summarizer().summarize([["Kofi signed the lease."]])[0]
    print(answer.backend, [fallback.code for fallback in answer.fallbacks])
    print(all(each.error is None for each in bridge.health()))
"""
PRINTED = {
    "onnx": ["['onnx', 'onnx', 'onnx']", "16", "[...]", "onnx []", "True"],
    "server": ["['cloud', 'cloud', 'cloud']", "4", "['Kofi']", "cloud []", "True"],
    "chains": ["['onnx', 'onnx', 'onnx', 'cloud', 'cloud', 'cloud']", "4", "[...]", "summaries ['quota']", "True"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with the artifacts and the prompt that the files name."""
    for name in ("valid", "backends.json"):
        (tmp_path / name).symlink_to(GOLDEN_FOLDER / name)
    (tmp_path / "prompt.txt").write_text("Short, please: {text}", encoding="utf-8")
    return tmp_path


def write(folder: Path, text: str, server: FaultyServer | None = None) -> Path:
    url = "" if server is None else server.url
    (folder / "bridge.toml").write_text(text.format(name="cloud", url=url) if server else text, encoding="utf-8")
    return folder / "bridge.toml"


@pytest.mark.parametrize("name", CASES)
def test_a_file_has_its_code(name, folder):
    code = None
    try:
        open_bridge(write(folder, CASES[name]["toml"])).close()
    except OnnxMlBridgeError as error:
        code = error.code
    assert code == CASES[name]["code"]


@pytest.mark.families("sentence_embedding", "token_classification", "summarization")
@pytest.mark.parametrize("name", PRINTED)
def test_one_program_runs_with_all_files(name, folder, server):
    config = write(folder, {"onnx": ONNX, "server": SERVER, "chains": CHAINS}[name], server)
    server.script(*(["ok", "quota"] if name == "chains" else []))
    done = subprocess.run([sys.executable, "-c", PROGRAM, config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for printed, expected in zip(done.stdout.splitlines(), PRINTED[name], strict=True):
        assert printed == expected or (expected == "[...]" and printed.startswith("["))


@pytest.mark.families("sentence_embedding", "token_classification", "summarization")
def test_a_file_sets_what_backends_have(folder, server):
    server.script("quota", "quota")
    with open_bridge(write(folder, CHAINS, server)) as bridge:
        assert isinstance(bridge, CompositeMlBridge)
        assert bridge.summarizer().summarize([["one"]])[0].backend == "summaries"
        (request,) = server.requests()
        assert request["body"]["messages"][0]["content"] == "Short, please: one"
        with pytest.raises(BackendError) as refused:  # a member by its name has no fallbacks
            bridge.summarizer("cloud").summarize([["one"]])
        assert refused.value.code == "quota"
        bridge.recognizer("cloud").recognize(["So Kofi came."])
        assert server.requests()[-1]["body"]["temperature"] == 0.5
        assert bridge.summarizer("cloud")._timeout == 20 and bridge.summarizer("summaries")._timeout is None
        infos = {(info.backend, info.name): info for info in bridge.models()}
        assert infos["cloud", "m@4"].space == "m" and infos["cloud", "m@4"].location == "machine"
        with pytest.raises(InputError):
            bridge.recognizer("summaries")


@pytest.mark.families("sentence_embedding")
def test_several_models_of_a_task_need_a_chain_or_a_default(folder, server):
    both = ONNX + SERVER
    with open_bridge(write(folder, both, server)) as bridge:
        with pytest.raises(InputError) as refused:
            bridge.embedder()
        assert refused.value.code == "model_not_found"
        assert len(bridge.generate_embedding("a", model="sentences")) == 16
    with open_bridge(write(folder, '[bridge]\ndefaults = {{ embedding = "cloud" }}\n' + both, server)) as bridge:
        assert len(bridge.generate_embedding("a")) == 4


@pytest.mark.families("gliner")
def test_a_model_that_takes_labels_takes_them_in_a_chain(folder, server):
    gliner = '[models.any]\npath = "valid/tiny-gliner"\n[tasks]\nner = ["any", "cloud"]\n' + SERVER
    from onnx_ml_bridge import RecognizeOptions

    text, options = "Ann met Bo in Paris.", RecognizeOptions(labels=["person", "city"], threshold=0.0)
    with open_bridge(write(folder, gliner, server)) as bridge, OnnxMlBridge.open(folder / "valid/tiny-gliner") as onnx:
        alone = onnx.recognizer().recognize([text], options)
        assert bridge.recognizer("any").recognize([text], options) == alone
        with pytest.raises(OnnxMlBridgeError) as refused:  # language models have no threshold
            bridge.recognizer().recognize([text], options)
        assert refused.value.code == "config"
        (found,) = bridge.recognizer().recognize([text], RecognizeOptions(labels=["person"]))
        assert found.backend == "any"


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_the_environment_can_demand_local_models(folder, monkeypatch, value):
    monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", value)
    with pytest.raises(BackendError) as refused:
        open_bridge(write(folder, '[backend.cloud]\nkind = "openai"\nsummarization = { model = "m" }\n'))
    assert refused.value.code == "not_local"
    store = '[bridge]\nstore = "https://models.example.org"\n[models.a]\npath = "store:a@1.0.0"\n'
    with pytest.raises(BackendError) as refused:
        open_bridge(write(folder, store))
    assert refused.value.code == "not_local"


@pytest.mark.parametrize("value", ["", "0"])
def test_the_environment_can_demand_nothing(folder, monkeypatch, value):
    monkeypatch.setenv("ONNX_ML_BRIDGE_LOCAL_ONLY", value)
    open_bridge(write(folder, '[backend.cloud]\nkind = "openai"\nsummarization = { model = "m" }\n')).close()


def test_nothing_new_is_imported_without_backends(folder):
    """A program with ONNX models alone imports no module of the backends, no event loop and no HTTP library."""
    code = (
        "import sys\nfrom onnx_ml_bridge import open_bridge\n"
        "with open_bridge(sys.argv[1]) as bridge:\n    bridge.generate_embedding('a')\n"
        "new = ('onnx_ml_bridge.backends', 'httpx2', 'xllamacpp', 'asyncio', 'ssl', 'http', 'openai')\n"
        "print(sorted(name for name in sys.modules if name.startswith(new)))\n"
    )
    config = write(folder, '[models.a]\npath = "valid/tiny-embedding"\n')
    done = subprocess.run([sys.executable, "-c", code, config], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(folder):
    code = (
        "import sys\nsys.modules['httpx2'] = None\nfrom onnx_ml_bridge import open_bridge\n"
        "try:\n    open_bridge(sys.argv[1])\nexcept Exception as error:\n    print(error.code, error)\n"
    )
    config = write(folder, '[backend.cloud]\nkind = "openai"\nsummarization = { model = "m" }\n')
    done = subprocess.run([sys.executable, "-c", code, config], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dependency ") and "onnx-ml-bridge[openai]" in done.stdout


def test_a_forked_process_asks_servers_too(folder, server):
    server.script()
    with open_bridge(write(folder, SERVER, server)) as bridge:
        before = bridge.generate_embedding("one")
        if (child := os.fork()) == 0:
            same = np.array_equal(bridge.generate_embedding("one"), before)
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(bridge.generate_embedding("one"), before)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1, 2], [[0, 1]]),
        ([1, 9000, 2], [[1], [0, 2]]),
        ([1] * 2049, [list(range(2048)), [2048]]),
        ([8000] * 38, [list(range(37)), [37]]),
    ],
)
def test_requests_keep_the_limits_of_texts_and_bytes(sizes, expected):
    assert list(plan_requests(sizes, 8192)) == expected


def test_an_invalid_summary_option_is_refused_by_every_backend(folder, server):
    with open_bridge(write(folder, SERVER, server)) as bridge, pytest.raises(OnnxMlBridgeError) as refused:
        bridge.summarizer().summarize([["a"]], SummarizeOptions(num_beams=2))
    assert refused.value.code == "config"
