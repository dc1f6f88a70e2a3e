"""What servers answer: streams in any pieces, answers off their schema, and Retry-After in all forms."""

from __future__ import annotations

import base64
import email.utils
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge import ConfigError, Task
from onnx_ml_bridge.backends.chat import CompletionReader
from onnx_ml_bridge.backends.embeddings import read_embeddings
from onnx_ml_bridge.backends.entities import read_entities
from onnx_ml_bridge.backends.event_stream import MAX_LINE, EventStream
from onnx_ml_bridge.backends.models import ChatSettings, checked_labels
from onnx_ml_bridge.backends.prompts import parse_prompt, read_prompt
from onnx_ml_bridge.backends.verdicts import Failure, error_event, refused, retry_after

# The exceptions that an answer off its schema may raise; the wire turns them into typed errors
OFF_SCHEMA = (KeyError, TypeError, ValueError, LookupError, AttributeError, OverflowError)
KEYS = st.sampled_from(
    ["data", "index", "embedding", "entities", "text", "label", "before", "choices", "delta", "usage"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
SETTINGS = ChatSettings(1000, 100, parse_prompt("{text}"), labels=("A",))


def answered(vectors, **other):
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"data": data, **other}


@given(st.lists(st.text(alphabet="ab {}:é😀", max_size=12), max_size=6), st.data())
def test_a_stream_may_be_cut_anywhere(events, data):
    raw = "".join(f": comment\r\ndata: {event}\r\n\r\n" for event in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    stream, found = EventStream(), []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += stream.feed(raw[start:end])
    assert found == events


def test_lines_of_data_are_joined_and_other_fields_ignored():
    raw = b"event: x\nid: 1\ndata: one\ndata:two\n\n\n\ndata: never ended"
    assert list(EventStream().feed(raw)) == ["one\ntwo"]
    with pytest.raises(ValueError):
        list(EventStream().feed(b"x" * (MAX_LINE + 1)))


@given(JSON)
def test_any_answer_is_vectors_or_off_the_schema(answer):
    for body in (answer, {"data": answer}, {"data": [{"index": 0, "embedding": answer}]}):
        with suppress(*OFF_SCHEMA):
            vectors, _ = read_embeddings(body, texts=1, dimensions=None)
            assert vectors.shape[0] == 1 and np.isfinite(vectors).all() and vectors.dtype == np.float32


@given(JSON)
def test_any_text_is_entities_or_off_the_schema(answer):
    for body in (answer, {"entities": answer}, {"entities": [answer]}):
        with suppress(*OFF_SCHEMA):
            assert all(copied.label == "A" for copied in read_entities(json.dumps(body), SETTINGS))


@given(JSON)
def test_any_event_is_read_or_a_failure(event):
    for body in (event, {"choices": event}, {"choices": [{"delta": event}]}, {"error": event, "choices": []}):
        reader = CompletionReader("a model")
        with suppress(Failure):
            reader.feed(json.dumps(body))
            reader.feed("[DONE]")
            reader.result()


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0], [2.0, 3.0]],
        [[1.0]],
        [[1.0], [2.0], [3.0]],
        [[True], [1.0]],
        [["1"], [1.0]],
        [[1e39], [1.0]],
        [[10**400], [1.0]],
        ["", [1.0]],
        [base64.b64encode(np.array([np.inf], "<f4").tobytes()).decode(), [1.0]],
        [[], []],
    ],
)
def test_vectors_that_are_off_the_schema(vectors):
    with pytest.raises(OFF_SCHEMA):
        read_embeddings(answered(vectors), texts=2, dimensions=None)


def test_vectors_are_in_the_order_of_their_indices():
    body = answered([[0.5, 1.0], base64.b64encode(np.array([2.0, 3.0], "<f4").tobytes()).decode()])
    body["data"].reverse()
    vectors, usage = read_embeddings(body, texts=2, dimensions=2)
    assert vectors.tolist() == [[0.5, 1.0], [2.0, 3.0]] and usage is None
    with pytest.raises(OFF_SCHEMA):
        read_embeddings(body, texts=2, dimensions=3)
    body["data"][0]["index"] = 0
    with pytest.raises(OFF_SCHEMA):
        read_embeddings(body, texts=2, dimensions=2)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "."}, None),
        ({"retry-after": "9" * 400}, 365.0 * 24 * 3600),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": email.utils.formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_in_all_forms(headers, expected):
    assert retry_after(headers, now=1_000_000) == expected


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        ({"code": 429}, "rate_limited", True),
        ({"code": 400, "type": "exceed_context_size_error"}, "context_too_long", False),
        ({"code": "invalid_api_key", "type": "authentication_error"}, "auth", False),
        ({"type": "insufficient_quota"}, "quota", False),
        ({"type": "server_error"}, "upstream", True),
        ({"code": 200}, "upstream", True),
        ("a text", "upstream", True),
        (True, "upstream", True),
    ],
)
def test_an_event_with_an_error_is_as_its_status(error, code, again):
    failure = error_event(error, "a model")
    assert (failure.error.code, failure.again) == (code, again)


@given(st.binary(max_size=60), st.integers(100, 599))
def test_no_message_has_what_a_server_wrote(body, status):
    marked = b"canary" + body
    for raw in (marked, json.dumps({"error": {"message": marked.decode("latin-1"), "type": "canary"}}).encode()):
        failure = refused(status, raw, {}, "a model")
        assert "canary" not in str(failure.error) and "canary" not in repr(vars(failure.error))


def test_a_text_is_put_into_a_prompt_literally():
    prompt = parse_prompt("{labels}: {text}!").with_labels(["A", "B"])
    assert prompt.with_text("{text} {labels} {0} %s") == "A, B: {text} {labels} {0} %s!"
    for template in ("no text", "{text} {text}", "", 3, "{text}\ud800"):
        with pytest.raises(ConfigError):
            parse_prompt(template)
    for task in (Task.NER, Task.SUMMARIZATION):
        assert "Kofi" in read_prompt(None, task).with_text("Kofi")
    assert "{labels}" not in read_prompt(None, Task.NER).with_labels(["A"]).with_text("")


@pytest.mark.parametrize("labels", [[], (), "A", [""], [3], None, ["\ud800"]])
def test_labels_that_are_no_names(labels):
    with pytest.raises(ConfigError):
        checked_labels(labels)


def test_labels_are_used_once_and_a_label_of_no_call_is_off_the_schema():
    assert checked_labels(["B", "A", "B"]) == ("B", "A")
    answer = json.dumps({"entities": [{"before": "", "text": "x", "label": "A"}]})
    assert len(read_entities(answer, SETTINGS)) == 1
    with pytest.raises(OFF_SCHEMA):
        read_entities(answer, replace(SETTINGS, labels=("B",)))
