"""The Rust command with a real model: on all parity texts, its vectors equal those of Python for both variants."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from onnx_ml_bridge import Embedder, Embeddings, Model
from onnx_ml_bridge.parity.texts import parity_texts
from rust_command import rust_answers

TOLERANCE = 1e-6
TEXTS = parity_texts()


def command(rust: Path, artifact: Path, variant: str) -> list[str]:
    return [str(rust), "embed", "--model", str(artifact), "--variant", variant]


def answers_one_by_one(line: list[str], texts: list[str]) -> Iterator[dict]:
    """Send each text only after the answer to the previous one, so that every text is a batch of its own."""
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in texts:
            process.stdin.write(json.dumps(text).encode() + b"\n")
            process.stdin.flush()
            yield json.loads(process.stdout.readline())
        process.stdin.close()


@pytest.fixture(scope="module")
def minilm_vectors(minilm_artifact) -> Callable[[str], Embeddings]:
    """A function of the variant, which returns Python's vectors for all texts."""
    return cache(lambda variant: Embedder.open(Model(minilm_artifact, variant=variant)).embed(TEXTS))


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_rust_returns_the_vectors_of_python(rust, minilm_artifact, minilm_vectors, variant):
    answers = rust_answers(command(rust, minilm_artifact, variant), [json.dumps({"text": text}) for text in TEXTS])
    expected = minilm_vectors(variant)
    found = np.array([answer["embedding"] for answer in answers], np.float32)
    assert found.shape == expected.vectors.shape and len(TEXTS) >= 500
    assert np.abs(found - expected.vectors).max() <= TOLERANCE
    assert [answer["truncated"] for answer in answers] == expected.truncated.tolist()


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_rust_returns_the_same_vector_for_a_text_alone(rust, minilm_artifact, minilm_vectors, variant):
    sample = TEXTS[::12]
    found = [answer["embedding"] for answer in answers_one_by_one(command(rust, minilm_artifact, variant), sample)]
    expected = minilm_vectors(variant).vectors[::12]
    assert np.abs(np.array(found, np.float32) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["verify", "embed"])
def test_both_commands_print_the_same_keys(rust, minilm_artifact, name):
    python = [sys.executable, "-m", "onnx_ml_bridge"]
    arguments = ["verify", str(minilm_artifact), "--json"]
    if name == "embed":
        arguments = ["embed", "--model", str(minilm_artifact)]
    lines = b'"good"\n{"text": 1}\n\n{"other": 1}\n'
    runs = [
        subprocess.run([*start, *arguments], input=lines, capture_output=True, check=False)
        for start in ([str(rust)], python)
    ]
    first, second = ([json.loads(line) for line in run.stdout.splitlines()] for run in runs)
    assert [shape(answer) for answer in first] == [shape(answer) for answer in second]
    assert runs[0].returncode == runs[1].returncode == (0 if name == "verify" else 1)


def shape(value: object) -> object:
    """Reduce a JSON value to what must be equal in both languages: remove messages, measured numbers and list items."""
    if isinstance(value, dict):
        return {key: "..." if key == "message" else shape(item) for key, item in value.items()}
    return "figure" if isinstance(value, float) else len(value) if isinstance(value, list) else value
