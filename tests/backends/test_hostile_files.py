"""GGUF files that are wrong on purpose: llama.cpp refuses them, dies or hangs, and this process gets a typed error."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from llama_server import SLACK, START_LIMIT, USABLE_START_LIMIT
from onnx_ml_bridge import Gguf, InferenceError, LlamaCppMlBridge, OnnxMlBridgeError

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
from gguf_models import HOSTILE, USABLE, write_llama


def answer_of(file: Path, limit: float = START_LIMIT) -> OnnxMlBridgeError | None:
    """The error of a short summary; None for an answer."""
    model = Gguf(file, context=512, threads=1, max_output_tokens=8, memory_mb=8192)
    bridge = LlamaCppMlBridge.open(summarization=model, start_timeout=limit, read_timeout=limit)
    with bridge:
        try:
            bridge.summarize(["one"])
        except OnnxMlBridgeError as error:
            return error
    return None


def test_there_are_35_files():
    assert len(HOSTILE) == 35 and set(HOSTILE) > USABLE


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_is_a_typed_error_within_the_start_limit(name, tmp_path):
    file = write_llama(tmp_path / "hostile.gguf", replaced=HOSTILE[name])
    limit = USABLE_START_LIMIT if name in USABLE else START_LIMIT
    started = time.monotonic()
    error = answer_of(file, limit)
    assert time.monotonic() - started < limit + SLACK
    assert isinstance(error, type(None) if name in USABLE else InferenceError)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 64, b"not a model at all" * 100])
def test_other_bytes_are_a_typed_error(content, tmp_path):
    (tmp_path / "bytes.gguf").write_bytes(content)
    assert isinstance(answer_of(tmp_path / "bytes.gguf"), InferenceError)


def test_a_file_that_is_cut_is_a_typed_error(tmp_path):
    file = write_llama(tmp_path / "cut.gguf")
    file.write_bytes(file.read_bytes()[:-1000])
    assert isinstance(answer_of(file), InferenceError)
