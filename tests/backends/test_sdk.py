"""The official SDK as the reference of the wire: the same requests, vectors, texts and kinds of errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from faulty import DIMENSIONS
from faulty_server import FaultyServer, faulty_server
from onnx_ml_bridge import (
    ApiModel,
    ApiServer,
    OnnxMlBridgeError,
    OpenAiMlBridge,
    RecognizeOptions,
    SummarizeOptions,
)
from onnx_ml_bridge.backends.align import Copied, align
from onnx_ml_bridge.backends.entities import response_format

openai = pytest.importorskip("openai")
TEXTS = ["The lease was signed on Tuesday.", "Kofi moved in.", "A cat sat on the mat, twice."]
# The SDK's exception for each of our codes
ERRORS = {
    "400": ("config", openai.BadRequestError),
    "401": ("auth", openai.AuthenticationError),
    "403": ("auth", openai.PermissionDeniedError),
    "404": ("model_not_found", openai.NotFoundError),
    "429:s=0": ("rate_limited", openai.RateLimitError),
    "500": ("upstream", openai.InternalServerError),
    "close": ("upstream", openai.APIConnectionError),
}


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def opened(url: str, dimensions: int = DIMENSIONS, **model: Any) -> OpenAiMlBridge:
    chat = ApiModel("m", temperature=0, **{"max_output_tokens": 40, **model})
    embedding = ApiModel("m", dimensions=dimensions)
    server = ApiServer(base_url=url, max_attempts=1)
    return OpenAiMlBridge.open(embedding=embedding, ner=chat, summarization=chat, server=server)


def test_vectors_equal_those_of_the_sdk(embedding_server, sdk):
    answer = sdk(embedding_server.url).embeddings.create(model="m", input=TEXTS)
    vectors = opened(embedding_server.url, 384).generate_embeddings_batch(TEXTS)
    assert np.array_equal(vectors, np.array([each.embedding for each in answer.data], np.float32))


def test_texts_equal_those_of_the_sdk(chat_server, sdk):
    content = "Write a summary."
    (summary,) = (
        opened(chat_server.url).summarizer().summarize([["one"]], SummarizeOptions(prompt=content + "{text}", seed=1))
    )
    message: Any = [{"role": "user", "content": content + "one"}]
    answer = sdk(chat_server.url).chat.completions.create(
        model="m", messages=message, max_tokens=40, temperature=0, seed=1
    )
    assert summary.text == answer.choices[0].message.content.strip() and len(summary.text) > 5
    assert (summary.usage.prompt_tokens, summary.tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


def test_entities_equal_those_of_the_sdk(chat_server, sdk, tmp_path):
    """A random model writes lists that keep the schema; what of them is in the text is found as in the SDK's answer."""
    (tmp_path / "ner.txt").write_text("{labels}: {text}", encoding="utf-8")
    bridge = opened(chat_server.url, max_output_tokens=400, prompt=tmp_path / "ner.txt")
    text, labels = "Kofi met Ann in Paris, a b c d e f.", ["PERSON", "GPE"]
    (found,) = bridge.recognizer().recognize([text], RecognizeOptions(labels=labels))
    answer = sdk(chat_server.url).chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": f"PERSON, GPE: {text}"}],
        max_tokens=400,
        temperature=0,
        response_format=response_format(labels),
    )
    listed = json.loads(answer.choices[0].message.content)["entities"]
    aligned = align(text, [Copied(each["text"], each["label"], each["before"]) for each in listed])
    assert [(each.start, each.end, each.label) for each in found] == [
        (span.start, span.end, span.label) for span in aligned.spans
    ]
    assert found.tokens == answer.usage.prompt_tokens


def test_requests_equal_those_of_the_sdk(faulty, sdk):
    faulty.script()
    client, bridge = sdk(faulty.url), opened(faulty.url)
    client.embeddings.create(model="m", input=TEXTS)
    bridge.embedder().embed(TEXTS)
    message: Any = [{"role": "user", "content": "Say: one"}]
    usage: Any = {"include_usage": True}
    with client.chat.completions.create(
        model="m", messages=message, stream=True, stream_options=usage, max_tokens=40, temperature=0, seed=3
    ) as stream:
        parts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    summary = bridge.summarizer().summarize([["one"]], SummarizeOptions(prompt="Say: {text}", seed=3))[0]
    theirs, ours, their_chat, our_chat = faulty.requests()
    assert (theirs["path"], theirs["body"]) == (ours["path"], ours["body"])
    assert (their_chat["path"], their_chat["body"]) == (our_chat["path"], our_chat["body"])
    assert "".join(part or "" for part in parts) == summary.text


@pytest.mark.parametrize("fault", ERRORS)
def test_errors_are_of_the_kinds_of_the_sdk(faulty, sdk, fault):
    code, kind = ERRORS[fault]
    faulty.script(fault, fault)
    with pytest.raises(kind):
        sdk(faulty.url).embeddings.create(model="m", input=TEXTS)
    with pytest.raises(OnnxMlBridgeError) as failed:
        opened(faulty.url).embedder().embed(TEXTS)
    assert failed.value.code == code


def test_faults_between_llama_cpp_and_a_client_are_those_of_the_contract(chat_server):
    """The corrupting server in front of llama.cpp's: a stream that is cut is asked for again, and then complete."""
    with faulty_server(["--upstream", chat_server.address.removeprefix("http://")]) as proxy:
        server = ApiServer(base_url=proxy.url, max_backoff=0.02)
        chat = ApiModel("m", temperature=0, max_output_tokens=30)
        through = OpenAiMlBridge.open(summarization=chat, server=server)
        proxy.script("cut:700", "500")
        assert through.summarize(["one"]) == opened(chat_server.url, max_output_tokens=30).summarize(["one"])
        assert len(proxy.requests()) == 3
        assert [request["body"]["messages"] for request in proxy.requests()] == [
            proxy.requests()[0]["body"]["messages"]
        ] * 3
