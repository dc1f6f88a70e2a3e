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
from llama_server import INJECTIONS, SLACK, START_LIMIT, is_alive, wait_for
from odd_texts import ODD
from onnx_ml_bridge import OnnxMlBridgeError, RecognizeOptions, SummarizeOptions, open_bridge

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
from gguf_models import HOSTILE, USABLE, write_llama

PROGRAM = os.environ.get("ONNX_ML_BRIDGE_RUST_BACKENDS")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="ONNX_ML_BRIDGE_RUST_BACKENDS is an example of the crate")
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


def rust(config: Path, *requests: dict[str, Any]) -> list[Any]:
    """The answers of the crate."""
    assert PROGRAM is not None
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROGRAM, str(config)], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


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
    where = {
        "llama-cpp": (f"command = {COMMAND}", f"path = {json.dumps(str(minilm_file))}, threads = 1"),
        "openai": (f'base_url = "{embedding_server.url}"', 'model = "m"'),
    }
    vectors = {}
    for kind, (address, model) in where.items():
        config = tmp_path / f"{kind}.toml"
        config.write_text(EMBEDDING.format(name="m", kind=kind, where=address, model=model), encoding="utf-8")
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


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_typed_error_within_the_start_limit(name, tmp_path):
    config = local(tmp_path, write_llama(tmp_path / "hostile.gguf", replaced=HOSTILE[name]), START_LIMIT)
    started = time.monotonic()
    ((answer,),) = rust(config, {"task": "summarization", "inputs": [["one"]]})
    assert time.monotonic() - started < START_LIMIT + SLACK
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
