"""MiniLM as a GGUF file and as our fp32 artifact give the same vectors for texts with equal tokens."""

from __future__ import annotations

import os

import numpy as np
import pytest
from equal_tokens import assert_equal_vectors, cosine
from odd_texts import ODD
from onnx_ml_bridge import ApiModel, ApiServer, Gguf, LlamaCppMlBridge, Model, OnnxMlBridge, OpenAiMlBridge

from benchmarks.corpora.documents import documents

pytest.importorskip("xllamacpp")
MAX_TOKENS = 256
TEXTS = int(os.environ.get("ONNX_ML_BRIDGE_TEXTS", "200"))


@pytest.fixture(scope="module")
def texts(minilm_artifact):
    """Texts with our vectors and numbers of tokens: those that our model reads whole."""
    drawn = [*documents("en", TEXTS).texts, *(text for text in ODD if text.strip())]
    with OnnxMlBridge.open(Model(minilm_artifact, variant="fp32")) as bridge:
        found = bridge.embedder().embed_each(drawn)
    whole = [(text, each) for text, each in zip(drawn, found, strict=True) if not getattr(each, "truncated", True)]
    assert len(whole) > 0.9 * TEXTS and all(each.token_count <= MAX_TOKENS for _, each in whole)
    return whole


def open_llama(minilm_file, embedding_server):
    return LlamaCppMlBridge.open(embedding=Gguf(minilm_file, dimensions=384, threads=1))


def open_server(minilm_file, embedding_server):
    server = ApiServer(base_url=embedding_server.url)
    return OpenAiMlBridge.open(embedding=ApiModel("m", context=512, dimensions=384), server=server)


@pytest.mark.parametrize("opener", [open_llama, open_server], ids=["llama-cpp", "openai"])
def test_equal_tokens_give_equal_vectors(opener, texts, minilm_file, embedding_server):
    def readings(embedder):
        for text, ours in texts:
            (theirs,) = embedder.embed_each([text])  # alone, so that the server's count is that of the text
            count, vector = getattr(theirs, "token_count", theirs), getattr(theirs, "vector", None)
            yield text, (ours.token_count, ours.vector), (count, vector)

    with opener(minilm_file, embedding_server) as bridge:
        assert_equal_vectors(readings(bridge.embedder()))


def test_vectors_of_many_texts_are_those_of_each(texts, minilm_file, embedding_server, sdk):
    some = [text for text, _ in texts if text.strip()][:60]
    with open_llama(minilm_file, None) as llama, open_server(None, embedding_server) as server:
        vectors = llama.generate_embeddings_batch(some)
        assert np.array_equal(server.generate_embeddings_batch(some), vectors)
        alone = np.stack([server.generate_embedding(text) for text in some])
    answer = sdk(embedding_server.url).embeddings.create(model="m", input=some)
    assert np.array_equal(vectors, np.array([each.embedding for each in answer.data], np.float32))
    assert min(cosine(left, right) for left, right in zip(vectors, alone, strict=True)) > 0.999999
