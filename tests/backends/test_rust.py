"""The Rust crate gives the answers of Python: vectors, tokens, entities and codes, by its example `backends`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equal_tokens import Reading, assert_equal_vectors
from llama_server import INJECTIONS, SLACK, START_LIMIT, USABLE_START_LIMIT, is_alive, wait_for
from odd_texts import ODD
from onnx_ml_bridge import OnnxMlBridgeError, RecognizeOptions, SummarizeOptions, open_bridge
from rust_backends import PROGRAM, needs_program, rust

from benchmarks.corpora.documents import documents

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
from gguf_models import HOSTILE, USABLE, write_llama

pytestmark = needs_program
GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
COMMAND = json.dumps([sys.executable, "-m", "onnx_ml_bridge.backends.llama_child"])
LOCAL = """
[backend.local]
kind = "llama-cpp"
command = {command}
start_timeout_ms = {start}
summarization = {{ path = {file}, context = 512, threads = 1, max_output_tokens = 40, memory_mb = 8192 }}
ner = {{ path = {file}, context = 512, threads = 1, max_output_tokens = 40, memory_mb = 8192 }}
"""
MAX_TOKENS = 256
TEXTS = int(os.environ.get("ONNX_ML_BRIDGE_TEXTS", "200"))
EMBEDDING = """
[backend.{name}]
kind = "{kind}"
{where}
embedding = {{ {model}, dimensions = 384, context = 512 }}
"""


def local(folder: Path, file: Path, start: float = 60) -> Path:
    text = LOCAL.format(command=COMMAND, file=json.dumps(str(file)), start=round(start * 1000))
    (folder / "bridge.toml").write_text(text, encoding="utf-8")
    return folder / "bridge.toml"


def minilm(file: Path, server: Any) -> dict[str, str]:
    """The bridge.toml of each backend with MiniLM."""
    where = {
        "llama-cpp": (f"command = {COMMAND}", f"path = {json.dumps(str(file))}, threads = 1"),
        "openai": (f'base_url = "{server.url}"', 'model = "m"'),
    }
    return {
        kind: EMBEDDING.format(name="m", kind=kind, where=address, model=model)
        for kind, (address, model) in where.items()
    }


def test_summaries_and_entities_are_those_of_python(llama_file, tmp_path):
    config = local(tmp_path, llama_file)
    messages = [f"Message {number} says that the lease was signed by the tenants." for number in range(60)]
    inputs = [["The lease was signed."], *([text] for text in INJECTIONS), messages]
    options = {"prompt": "Write: {text}"}
    entities, summaries, health = rust(
        config,
        {"task": "ner", "inputs": ["Kofi signed.", "word " * 600], "options": {"labels": ["PERSON"]}},
        {"task": "summarization", "inputs": inputs, "options": options},
        {"task": "health"},
    )
    with open_bridge(config) as bridge:
        expected = bridge.summarizer().summarize(inputs, SummarizeOptions(prompt=options["prompt"]))
        found = bridge.recognizer().recognize_each(["Kofi signed.", "word " * 600], RecognizeOptions(labels=["PERSON"]))
    assert [summary["text"] for summary in summaries] == [summary.text for summary in expected]
    assert [(each["tokens"], each["usage"]["prompt_tokens"]) for each in summaries] == [
        (each.tokens, each.usage.prompt_tokens) for each in expected
    ]
    assert {summary["backend"] for summary in summaries} == {"local"}
    codes = [each.code if isinstance(each, OnnxMlBridgeError) else None for each in found]
    assert [each.get("code") for each in entities] == codes and codes[1] == "context_too_long"
    assert [each["state"] for each in health] == ["ready"] * 2


def test_vectors_are_those_of_python_by_both_backends(minilm_file, embedding_server, tmp_path):
    texts = [text for text in ODD if text.strip()][:100]
    vectors = {}
    for kind, written in minilm(minilm_file, embedding_server).items():
        config = tmp_path / f"{kind}.toml"
        config.write_text(written, encoding="utf-8")
        (answers,) = rust(config, {"task": "embedding", "inputs": texts})
        with open_bridge(config) as bridge:
            expected = bridge.embedder().embed_each(texts)
        for ours, python in zip(answers, expected, strict=True):
            if isinstance(python, OnnxMlBridgeError):
                assert (ours["code"], ours["index"]) == (python.code, python.index)
            else:
                assert np.array_equal(np.array(ours["vector"], np.float32), python.vector)
        vectors[kind] = [each.get("vector") for each in answers]
    assert vectors["llama-cpp"] == vectors["openai"]


@pytest.fixture(scope="module")
def whole(minilm_artifact, tmp_path_factory):
    """Texts that our fp32 artifact reads whole, with its answers in Rust."""
    config = tmp_path_factory.mktemp("onnx") / "bridge.toml"
    model = f'[models.minilm]\npath = {json.dumps(str(minilm_artifact))}\nvariant = "fp32"\n'
    config.write_text(model, encoding="utf-8")
    drawn = [*documents("en", TEXTS).texts, *(text for text in ODD if text.strip())]
    (found,) = rust(config, {"task": "embedding", "inputs": drawn})
    kept = [(text, each) for text, each in zip(drawn, found, strict=True) if not each.get("truncated", True)]
    assert len(kept) > 0.9 * TEXTS and max(each["token_count"] for _, each in kept) <= MAX_TOKENS
    return kept


@pytest.mark.parametrize("kind", ["llama-cpp", "openai"])
def test_equal_tokens_give_the_vectors_of_our_own_model(kind, whole, minilm_file, embedding_server, tmp_path):
    (tmp_path / "bridge.toml").write_text(minilm(minilm_file, embedding_server)[kind], encoding="utf-8")
    # Each text alone, so that the server's count is that of the text
    answers = rust(tmp_path / "bridge.toml", *({"task": "embedding", "inputs": [text]} for text, _ in whole))
    pairs = zip(whole, answers, strict=True)
    assert_equal_vectors((text, reading(ours), reading(theirs)) for (text, ours), (theirs,) in pairs)


def reading(answer: dict[str, Any]) -> Reading:
    return answer.get("token_count", answer), answer.get("vector")


def test_the_description_and_the_memory_are_those_of_python(llama_file, tmp_path):
    config = local(tmp_path, llama_file)
    asked = [{"task": "status"}, {"task": "models"}, {"task": "summarization", "inputs": [["one"]]}, {"task": "status"}]
    before, models, _, after = rust(config, *asked)
    with open_bridge(config) as bridge:
        bridge.warm_up()
        expected, infos = bridge.status(), bridge.models()
    assert [(each["name"], each["device"], each["location"]) for each in models] == [
        (each.name, each.device, each.location) for each in infos
    ]
    assert [each["resident_bytes"] for each in before] == [0, 0]
    for ours, python in zip(after, expected, strict=True):
        assert 0.5 < ours["resident_bytes"] / python.resident_bytes < 2


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_typed_error_within_the_start_limit(name, tmp_path):
    limit = USABLE_START_LIMIT if name in USABLE else START_LIMIT
    config = local(tmp_path, write_llama(tmp_path / "hostile.gguf", replaced=HOSTILE[name]), limit)
    started = time.monotonic()
    ((answer,),) = rust(config, {"task": "summarization", "inputs": [["one"]]})
    assert time.monotonic() - started < limit + SLACK
    assert answer.get("code") == (None if name in USABLE else "inference"), answer


def test_a_server_that_dies_is_started_again_and_ends_with_its_parent(llama_file, tmp_path):
    assert PROGRAM is not None
    config = local(tmp_path, llama_file)
    line = json.dumps({"task": "summarization", "inputs": [["one"]]}) + "\n"
    pipe = subprocess.PIPE
    with subprocess.Popen([PROGRAM, str(config)], stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdin is not None and program.stdout is not None

        def ask() -> str:
            program.stdin.write(line)
            program.stdin.flush()
            return program.stdout.readline()

        first = ask()
        (server,) = servers_of(str(llama_file))
        os.kill(server, 9)
        wait_for(lambda: not is_alive(server))
        assert ask() == first
        (again,) = servers_of(str(llama_file))
        assert again != server
        program.kill()
    wait_for(lambda: not is_alive(again))


def servers_of(file: str) -> list[int]:
    """The processes of llama.cpp's server that have a file open as their model, without the shells around them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if file.encode() in arguments and arguments[0] != b"sh":
            found.append(int(folder.name))
    return found


def test_local_models_need_no_network(llama_file, tmp_path):
    assert PROGRAM is not None
    unshare = ["unshare", "--map-root-user", "--net"]
    try:
        if subprocess.run([*unshare, "true"], check=False).returncode:
            pytest.skip("the system allows no network namespaces")
    except FileNotFoundError:
        pytest.skip("the system has no unshare")
    config = local(tmp_path, llama_file)
    config.write_text("[bridge]\nlocal_only = true\n" + config.read_text(encoding="utf-8"), encoding="utf-8")
    line = json.dumps({"task": "summarization", "inputs": [["one"]]}) + "\n"
    done = subprocess.run([*unshare, PROGRAM, str(config)], input=line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["backend"] == "local"
